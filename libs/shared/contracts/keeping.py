"""Keeping what doesn't come from a conversation turn: imported turns, notes, passages of documents, facts."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id
from libs.shared.contracts.memory import LONGEST_MEMORY, MOST_IMPORTED, Fact, ImportedTurn, MemoryItem

_COGNITION = frozenset({Principal.COGNITION})
MOST_PASSAGES = 20_000


class KeepTurns(Message):
    """Imported turns: all of them in one transaction. Persistence seals each under a key of its own."""

    user_id: Id
    turns: tuple[ImportedTurn, ...] = Field(min_length=1, max_length=MOST_IMPORTED)


class KeepNote(Message):
    """A note in the user's words."""

    user_id: Id
    text: str = Field(min_length=1, max_length=LONGEST_MEMORY)
    at: datetime | None = None
    pinned: bool = False
    importance: float | None = None


class RewriteMemory(Message):
    """An edit. A new text is sealed under a new key, the old key is destroyed, what was derived goes (terms, vectors,
    facts), and an index job is made. Raises ``memory_not_found``."""

    user_id: Id
    id: Id
    text: str | None = None
    pinned: bool | None = None
    importance: float | None = None


class Passage(Message):
    """A piece of a document, small enough to be embedded whole."""

    text: str = Field(min_length=1, max_length=LONGEST_MEMORY)
    page: int | None = None


class KeepDocument(Message):
    """A document's passages, all in one transaction; one of the same name is forgotten in its favour.

    With the same digest nothing changes."""

    user_id: Id
    name: str = Field(min_length=1, max_length=512)
    media_type: str
    size: int
    """Bytes of the file."""
    digest: str
    """SHA-256 of the file, hexadecimal; kept sealed."""
    pages: int | None
    passages: tuple[Passage, ...] = Field(min_length=1, max_length=MOST_PASSAGES)
    at: datetime


class KeptMemories(Message):
    """What was kept now, in order, and how many were there already."""

    items: tuple[MemoryItem, ...]
    """The new ones, as they read."""
    versions: tuple[int, ...] = ()
    """Of their texts, one by one: an edit gives another. Empty: not known."""
    present: int = 0
    job_ids: tuple[Id, ...] = ()
    """The index jobs that were made for them: done when INDEX_MESSAGES says so, else offered again."""
    conversation_id: Id | None = None
    """Of a document or the notes."""
    embedder: str | None = None
    """``name@version`` of the vectors that the user's memory has; None: any."""


class FactKey(Message):
    """What two facts have in common that speak of the same thing."""

    subject: str
    attribute: str


class FindFacts(Message):
    """All facts, past and present, under these keys."""

    user_id: Id
    keys: tuple[FactKey, ...] = Field(max_length=1000)


class Facts(Message):
    """In order of ``valid_from``."""

    facts: tuple[Fact, ...]


class FactChange(Message):
    """A fact whose end is known now (or is open again), or that was told once more."""

    id: Id
    valid_to: datetime | None
    superseded_by: Id | None
    valid_from: datetime | None = None
    """An earlier beginning; None: as it is."""
    sources: tuple[Id, ...] = ()
    """Further memories that tell it, added to those it has."""


class KeepFacts(Message):
    """New facts (with ids that cognition chose) and ends of known ones, in one transaction.

    A fact none of whose sources exists is passed over; one that is there already is left as it is.
    """

    user_id: Id
    facts: tuple[Fact, ...] = Field(default=(), max_length=4000)
    changes: tuple[FactChange, ...] = Field(default=(), max_length=4000)
    versions: dict[Id, int | None] = Field(default_factory=dict)
    """Source → version of the text that was drawn from: one that says something else by now is no source. Absent, or
    None: not known."""


KEEP_TURNS = Rpc(
    "mongars.v1.persistence.keep_turns",
    KeepTurns,
    KeptMemories,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=96 * MIB,
    timeout_s=60.0,
)
KEEP_NOTE = Rpc(
    "mongars.v1.persistence.keep_note",
    KeepNote,
    KeptMemories,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
)
REWRITE_MEMORY = Rpc(
    "mongars.v1.persistence.rewrite_memory",
    RewriteMemory,
    KeptMemories,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    timeout_s=30.0,
)
KEEP_DOCUMENT = Rpc(
    "mongars.v1.persistence.keep_document",
    KeepDocument,
    KeptMemories,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=96 * MIB,
    timeout_s=60.0,
)
FIND_FACTS = Rpc(
    "mongars.v1.persistence.find_facts",
    FindFacts,
    Facts,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=16 * MIB,
)
KEEP_FACTS = Rpc(
    "mongars.v1.persistence.keep_facts",
    KeepFacts,
    Facts,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=16 * MIB,
)
