"""Turns an exception into data that may be logged: where it happened and of what kind, without the values at hand."""

from __future__ import annotations

import errno
import re
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from libs.shared.errors import ServiceError
from libs.shared.telemetry.scrubbing import scrub_text

MAX_FRAMES = 25
MAX_CHAIN = 4
MAX_GROUP = 4

_SPEAKS_OF_CODE = (ServiceError, ImportError, NameError, AttributeError, TypeError, SyntaxError, RecursionError)
"""Their messages name code or were written to be read by strangers; any other may quote what a person sent."""

_QUOTED = re.compile(r"""b?"[^"\n]*"|b?'[^'\n]*'|`[^`\n]*`|«[^»\n]*»""")
_DATABASE_VALUES = re.compile(r"\[parameters: .*|=\([^)\n]*\)|(?:DETAIL|CONTEXT|HINT|Failing row)\b.*", re.DOTALL)


def _validation_message(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    # Below the first part of a location, and where a field is unknown, the names are the sender's own.
    shown = [
        f"{fault['loc'][0]}: {fault['type']}" if fault["loc"] and fault["type"] != "extra_forbidden" else fault["type"]
        for fault in faults[:5]
    ]
    return f"{error.error_count()} in {error.title}: " + ", ".join(shown)


def message_of(error: BaseException) -> str:
    """What ``error`` says, without what it quotes."""
    if isinstance(error, ValidationError):
        return _validation_message(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, error.errno)} {scrub_text(error.strerror or '')}".strip()
    text = scrub_text(str(error))
    if isinstance(error, _SPEAKS_OF_CODE):
        return text
    return _QUOTED.sub("'…'", _DATABASE_VALUES.sub("<hidden>", text))[:400]


def _frames(traceback: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{scrub_text(code.co_filename)}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-MAX_FRAMES:]


def describe(error: BaseException, depth: int = 0) -> dict[str, Any]:
    """Type, message and frames (innermost last) of ``error``, of its cause, and of the members of a group."""
    described: dict[str, Any] = {
        "type": type(error).__qualname__,
        "message": message_of(error),
        "frames": _frames(error.__traceback__),
    }
    if depth >= MAX_CHAIN:
        return described
    if isinstance(error, BaseExceptionGroup):
        described["members"] = [describe(member, depth + 1) for member in error.exceptions[:MAX_GROUP]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = describe(cause, depth + 1)
    return described
