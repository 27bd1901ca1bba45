"""Reading an archive whole, before anything of it is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.memory import ImportedTurn
from libs.shared.errors import ArchiveUnreadable
from services.api.archives import chatgpt, claude, own
from services.api.archives.files import documents
from services.api.archives.json_stream import elements
from services.api.archives.records import LONGEST_TITLE, Heading, Note, Passage, Record, line_of
from services.api.archives.turns import LONGEST_ID, text_of
from services.api.spool import SealedSpool

_OTHERS = {"chatgpt": chatgpt, "claude": claude}
_OWN = "mongars"
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_MOST_AHEAD = timedelta(days=1)
_MOST_HEADINGS = 200_000
_MOST_TURNS = 2_000_000
_MOST_ELEMENTS = 5_000_000
"""Whatever they are: what nothing is made of takes time, too."""


class Stopped(Exception):
    """Nobody waits for the archive any more."""


@dataclass
class Contents:
    """What an archive holds; its records lie in a spool, in the order in which they were read."""

    kind: str = ""
    """``chatgpt``, ``claude`` or ``mongars``."""
    turns: int = 0
    notes: int = 0
    documents: int = 0
    left_out: int = 0
    """Turns and notes whose date can't be (before 1900, or still to come), and turns whose id came before."""
    headings: dict[str, Heading] = field(default_factory=dict)
    """By the importer's conversation id."""
    _elements: int = 0
    _document: str | None = None
    _ids: set[bytes] = field(default_factory=set)

    def count_element(self) -> None:
        """Raises ArchiveUnreadable where there are too many."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise ArchiveUnreadable("This archive has too many parts.")

    def count(self, record: Record, now: datetime) -> bool:
        """Whether the record is to be imported."""
        if isinstance(record, Heading):
            self._keep(record)
            return False
        if isinstance(record, Passage):
            self.documents += record.name != self._document
            self._document = record.name
            return True
        if not _EARLIEST <= record.at <= now + _MOST_AHEAD:
            self.left_out += 1
            return False
        if isinstance(record, Note):
            self.notes += 1
            return True
        return self._count_turn(record)

    def _keep(self, heading: Heading) -> None:
        """In memory until the turns are imported, and so cut; under a longer id there can be no turns."""
        if len(self.headings) >= _MOST_HEADINGS:
            raise ArchiveUnreadable("This archive has too many conversations.")
        if len(heading.conversation_id) <= LONGEST_ID:
            self.headings[heading.conversation_id] = replace(
                heading, title=(heading.title or "")[:LONGEST_TITLE] or None
            )

    def _count_turn(self, turn: ImportedTurn) -> bool:
        if self.turns >= _MOST_TURNS:
            raise ArchiveUnreadable("This archive has too many turns.")
        short = hashlib.blake2b(turn.id.encode(), digest_size=12).digest()
        known = short in self._ids
        self._ids.add(short)
        self.left_out += known
        self.turns += not known
        return not known


def read_archive(source: SealedSpool, into: SealedSpool, *, most_bytes: int, now: datetime, stop: Event) -> Contents:
    """Writes a line into ``into`` for each record that is to be imported.

    Raises ArchiveUnreadable for what isn't an archive or can't be read to its end, StorageFull, and Stopped once
    ``stop`` is set.
    """
    contents = Contents()
    try:
        for document in documents(source, most_bytes):
            for record in _records(document, contents, stop):
                if contents.count(record, now):
                    into.write(line_of(record))
    except (ValidationError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise ArchiveUnreadable("Something in this archive isn't as such archives are: nothing was imported.") from None
    if not contents.kind:
        raise ArchiveUnreadable("There are no conversations in this archive.")
    return contents


def _records(document: Iterable[bytes], contents: Contents, stop: Event) -> Iterator[Record]:
    for section, found in elements(document):
        if stop.is_set():
            raise Stopped
        contents.count_element()
        kind = _kind(section, found)
        if contents.kind and kind != contents.kind:
            raise ArchiveUnreadable("This archive mixes what different programs exported.")
        contents.kind = kind
        yield from own.records(section, found) if kind == _OWN else _conversation(kind, found)


def _kind(section: str, found: Any) -> str:
    if section:
        return _OWN
    for name, reader in _OTHERS.items():
        if reader.is_conversation(found):
            return name
    raise ArchiveUnreadable("This isn't an export of ChatGPT, of Claude, or of monGARS.")


def _conversation(kind: str, found: dict[str, Any]) -> Iterator[Record]:
    reader = _OTHERS[kind]
    title = text_of(found.get("title") or found.get("name")).strip()
    yield Heading(reader.conversation_id(found), title or None, remembered=True)
    yield from reader.conversation_turns(found)
