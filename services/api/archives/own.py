"""monGARS' own export, and plain lists of turns: what each section's elements become. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from libs.shared.contracts.memory import LONGEST_MEMORY, ImportedTurn
from services.api.archives.records import Heading, Note, Passage, Record
from services.api.archives.turns import moment_of, text_of, turns

FORMAT = "mongars-memory"
VERSION = 1
_LONGEST_NAME = 512
"""Of a document."""
_SCALARS = frozenset({"format", "version", "exported_at"})
_DRAWN_ANEW = frozenset({"facts"})
"""They come again from what they were drawn from."""


def records(section: str, found: Any) -> Iterator[Record]:
    """What one element of ``section`` stands for. Raises ValueError for what no export of ours has."""
    if section in _SCALARS:
        _check(section, found)
    elif section not in _DRAWN_ANEW:
        reader = _READERS.get(section)
        if reader is None or not isinstance(found, dict):
            raise ValueError("not a section of an export")
        yield from reader(found)


def _check(section: str, found: Any) -> None:
    if (section == "format" and found != FORMAT) or (section == "version" and found != VERSION):
        raise ValueError("an export of another program, or of a later version")


def _turn(found: dict[str, Any]) -> Iterator[ImportedTurn]:
    at, text, speaker = moment_of(found.get("at")), text_of(found.get("text")), text_of(found.get("speaker"))
    named, conversation = text_of(found.get("id")), text_of(found.get("conversation_id"))
    if at is None or not all(part.strip() for part in (text, speaker, named, conversation)):
        raise ValueError("a turn needs an id, a conversation, a speaker, a text and a date")
    yield from turns(id=named, conversation_id=conversation, speaker=speaker, text=text, at=at)


def _message(found: dict[str, Any]) -> Iterator[ImportedTurn]:
    """Under the id that it was imported with, or its own: what is here already is known by it."""
    named = found.get("source_id") or found.get("message_id")
    yield from _turn({**found, "id": named})


def _heading(found: dict[str, Any]) -> Iterator[Heading]:
    title = text_of(found.get("title")).strip() or None
    yield Heading(text_of(found.get("conversation_id")), title, found.get("remembered") is not False)


def _note(found: dict[str, Any]) -> Iterator[Note]:
    at, text, importance = moment_of(found.get("at")), text_of(found.get("text")), found.get("importance")
    if at is None or not text.strip() or len(text) > LONGEST_MEMORY:
        raise ValueError("a note needs a text and a date")
    weight = float(importance) if isinstance(importance, int | float) and 0 <= importance <= 1 else None
    yield Note(text, at, found.get("pinned") is True, weight)


def _passage(found: dict[str, Any]) -> Iterator[Passage]:
    name, text = text_of(found.get("name")), text_of(found.get("text"))
    if not text or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError("a passage needs a document's name and a text")
    yield Passage(name, text)


def _nothing(found: dict[str, Any]) -> Iterator[Record]:
    """Of a document everything stands in its passages. Thumbs are of answers, which an import keeps as somebody's
    words, and what may be trained on is decided where it is trained."""
    yield from ()


_READERS: dict[str, Callable[[dict[str, Any]], Iterator[Record]]] = {
    "turns": _turn,
    "conversations": _heading,
    "messages": _message,
    "notes": _note,
    "documents": _nothing,
    "passages": _passage,
    "ratings": _nothing,
    "consents": _nothing,
}
