"""Lines of a log as people read them, and as programs do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

Piece = tuple[str, str]
"""A text and its style."""
_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red", "critical": "bold red"}
_SHOWN = ("at", "level", "service", "logger", "event", "exception")


def readable(text: str) -> Iterator[Piece]:
    """Time of day, level, event and fields; a line that isn't structured stays as it is."""
    row = _structured(text)
    if row is None:
        yield text, ""
        return
    level = str(row.get("level", ""))
    yield f"{_time(row.get('at'))}  ", "dim"
    yield f"{level:<8} ", _STYLES.get(level, "")
    yield str(row["event"]), "bold"
    for name, value in row.items():
        if name not in _SHOWN:
            yield f"  {name}=", "dim"
            yield _plain(value), ""
    if exception := row.get("exception"):
        yield f"\n{_plain(exception)}", "dim"


def as_json(text: str) -> str:
    """One JSON object: the line itself, or ``{"text": …}`` where it isn't structured."""
    return text if _structured(text) is not None else json.dumps({"text": text})


def _structured(text: str) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "event" in row else None


def _time(at: object) -> str:
    try:
        return datetime.fromisoformat(str(at)).astimezone().strftime("%m-%d %H:%M:%S")
    except ValueError:
        return str(at)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
