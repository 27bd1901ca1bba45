"""What every archive comes down to: dated turns, cut to what one memory may hold. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from libs.shared.contracts.memory import LONGEST_MEMORY, ImportedTurn

LONGEST_ID = 256
_LONGEST_SUFFIX = 8
"""What is added to the id of a text that had to be cut."""
_LONGEST_SPEAKER = 128
_BREAKS = ("\n\n", "\n", ". ", " ")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def text_of(value: object) -> str:
    """``value`` as text; nothing when it is none. JSON can write half a character, which no other place takes."""
    return _HALF_CHARACTER.sub("\ufffd", value) if isinstance(value, str) else ""


def moment_of(value: object) -> datetime | None:
    """Seconds since 1970, or ISO 8601 (UTC unless it says otherwise); None when it is neither."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def identity(*parts: object) -> str:
    """A stable id out of what an archive calls things; hashed where it would be too long or can't be printed."""
    joined = "/".join(text_of(part) if isinstance(part, str) else str(part) for part in parts)
    if len(joined) <= LONGEST_ID - _LONGEST_SUFFIX and joined.isprintable():
        return joined
    return f"{text_of(parts[0])[:32]}/{digest(joined)}"


def digest(value: object) -> str:
    """Of a JSON value, whatever the order of its members."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def turns(*, id: str, conversation_id: str, speaker: str, text: str, at: datetime) -> Iterator[ImportedTurn]:
    """The turn; several, when its text is longer than one memory may be."""
    for number, piece in enumerate(pieces(text), 1):
        yield ImportedTurn(
            id=id if number == 1 else f"{id}#{number}",
            conversation_id=conversation_id,
            speaker=speaker[:_LONGEST_SPEAKER],
            text=piece,
            at=at,
        )


def pieces(text: str, most: int = LONGEST_MEMORY) -> Iterator[str]:
    """Pieces of at most ``most`` characters, cut at a paragraph, a line, a sentence or a word where there is one."""
    text = text.strip()
    while len(text) > most:
        cut = _cut(text, most)
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    if text:
        yield text


def _cut(text: str, most: int) -> int:
    for mark in _BREAKS:
        if (found := text.rfind(mark, most // 2, most)) > 0:
            return found + len(mark)
    return most
