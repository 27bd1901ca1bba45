"""Log lines fit for a bundle: structured ones field by field, of others only what can't quote anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from cli.bundle.pseudonyms import Pseudonyms

_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|\([^()]*\)=\([^()]*\)")
_PLAIN_PARTS = frozenset({"broker", "database", "supervisor"})
"""Parts that log in lines of their own; what a service prints beside its structured lines is left out."""


def cleaned(part: str, lines: Iterable[str], pseudonyms: Pseudonyms) -> Iterator[str]:
    """``part`` is the log's name: a service, ``broker`` …"""
    for line in lines:
        fields = _fields(line)
        if fields is not None:
            yield json.dumps(pseudonyms.value(fields))
        elif part in _PLAIN_PARTS:
            yield pseudonyms.text(_QUOTED.sub("<quoted>", line))
        elif line.strip():
            yield f"<a line of {len(line)} characters>"


def _fields(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
