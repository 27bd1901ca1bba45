"""A user's memory as the user sees it: searching, adding, importing and editing. Cognition answers the api; what needs
no judgement of content (listing, pinning, forgetting) persistence answers itself."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from libs.shared.contracts.base import MIB, Broadcast, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page, Position
from libs.shared.contracts.forgetting import Receipt

_API = frozenset({Principal.API})
MOST_IMPORTED = 1000
"""Turns of one import."""
LONGEST_MEMORY = 64 * 1024
"""Characters of one turn or note."""


class MemoryKind(StrEnum):
    """What a memory is: something said (or imported), a note that the user wrote, a passage of a document, or a fact
    that was drawn from one of these."""

    MESSAGE = "message"
    NOTE = "note"
    PASSAGE = "passage"
    FACT = "fact"


class Fact(Message):
    """What was drawn from memories; true from ``valid_from`` until ``valid_to`` (None: still)."""

    id: Id
    subject: str
    """Who or what it is about: ``user``, or a name."""
    attribute: str
    """Such as ``residence`` or ``sister.name``; two facts of one subject and attribute speak of the same thing."""
    value: str
    text: str
    """The fact as a short sentence."""
    sources: tuple[Id, ...]
    """The memories that it was drawn from."""
    valid_from: datetime
    valid_to: datetime | None = None
    superseded_by: Id | None = None
    extractor: str
    """What drew it, with its version, such as ``rules@1``."""
    said_at: tuple[datetime, ...] = ()
    """When each of ``sources`` was said, in their order. Of FIND_FACTS alone."""


class MemoryItem(Message):
    """A memory. ``score`` and ``parts`` are of a search; ``parts`` are filled when explained."""

    id: Id
    kind: MemoryKind = MemoryKind.MESSAGE
    text: str
    score: float = 0.0
    source_id: str
    """The id that it was imported under; else its own."""
    conversation_id: Id
    speaker: str
    """``user``, ``assistant``, or the name that it was imported with."""
    at: datetime
    pinned: bool = False
    importance: float = 0.0
    """0..1."""
    title: str | None = None
    """Of the document that a passage is from."""
    page: int | None = None
    """Of that document, from 1."""
    facts: tuple[Fact, ...] = ()
    """Those that were drawn from it."""
    superseded_by: Id | None = None
    """A newer memory that tells otherwise."""
    parts: dict[str, float] = Field(default_factory=dict)
    digest: bool = False
    """Of a search with a budget, where digests are in force: the text is put together of sentences of ``sources``,
    each as it was said with its times written out; ``id`` is the best of them."""
    sources: tuple[Id, ...] = ()
    """The memories that a digest's sentences are from, in their order."""
    retold: tuple[Id, ...] = ()
    """Further ones that tell one of its sentences again: the days of their telling stand behind it."""


class SearchMemory(Message):
    """A question to a user's memory, in the user's words."""

    user_id: Id
    query: str = Field(min_length=1, max_length=8192)
    k: int = Field(default=10, ge=1, le=100)
    budget_tokens: int | None = Field(default=None, ge=1, le=100_000)
    """Of the items' texts, estimated: as many of the best as fit, instead of a number (``k`` still bounds them)."""
    explain: bool = False
    read_after: Position | None = None
    now: datetime | None = None
    """The asker's clock with its offset, against which times are resolved; None: the server's, in UTC."""


class MemoryItems(Message):
    """Best first."""

    items: tuple[MemoryItem, ...]
    degraded: str | None = None
    """Why part of the search did not run, such as ``no-embedder``."""
    understood: dict[str, object] = Field(default_factory=dict)
    """When explained: what was read out of the question (times, names, kind of answer)."""


class ImportedTurn(Message):
    """Something that was said elsewhere. ``id`` is the importer's; the same id is imported once, and one that is the id
    of a memory of the user's own counts as imported."""

    id: str = Field(min_length=1, max_length=256)
    conversation_id: str = Field(min_length=1, max_length=256)
    speaker: str = Field(min_length=1, max_length=128)
    text: str = Field(min_length=1, max_length=LONGEST_MEMORY)
    at: datetime


class ImportTurns(Message):
    """All of them or none are kept. Turns that are there already are passed over."""

    user_id: Id
    turns: tuple[ImportedTurn, ...] = Field(min_length=1, max_length=MOST_IMPORTED)


class Imported(Message):
    """Every turn is searchable now (by its words alone when ``degraded`` says so)."""

    imported: int
    present: int
    """Those that had been imported before."""
    degraded: str | None = None


class AddMemory(Message):
    """A note in the user's own words."""

    user_id: Id
    text: str = Field(min_length=1, max_length=LONGEST_MEMORY)
    at: datetime | None = None
    pinned: bool = False
    importance: float | None = Field(default=None, ge=0, le=1)


class EditMemory(Message):
    """Changes what is given. A new text is sealed anew and the old one's key destroyed. Raises ``memory_not_found``."""

    user_id: Id
    id: Id
    text: str | None = Field(default=None, min_length=1, max_length=LONGEST_MEMORY)
    pinned: bool | None = None
    importance: float | None = Field(default=None, ge=0, le=1)


class MemoryRef(Message):
    """A memory or a fact of a user. Raises ``memory_not_found``, for another user's too."""

    user_id: Id
    id: Id
    read_after: Position | None = None


class ListMemories(Page):
    """Newest first (by when they were said)."""

    user_id: Id
    kind: MemoryKind | None = None
    """None: all but facts."""
    pinned: bool | None = None
    current: bool | None = None
    """Of facts: those that still hold (True) or no longer do (False)."""
    read_after: Position | None = None


class Memories(Message):
    """A page."""

    items: tuple[MemoryItem, ...]
    next_cursor: str | None = None


class UserMemory(Message):
    """All that is remembered of a user: conversations, notes, documents, facts. The account stays."""

    user_id: Id
    read_after: Position | None = None


class MemoryChanged(Message):
    """Something of a user's memory was forgotten, edited or re-indexed: caches of it are dropped."""

    user_id: Id


SEARCH_MEMORY = Rpc(
    "mongars.v1.cognition.search_memory",
    SearchMemory,
    MemoryItems,
    owner=Principal.COGNITION,
    callers=_API,
    max_bytes=8 * MIB,
    timeout_s=15.0,
)
IMPORT_TURNS = Rpc(
    "mongars.v1.cognition.import_turns",
    ImportTurns,
    Imported,
    owner=Principal.COGNITION,
    callers=_API,
    max_bytes=96 * MIB,
    timeout_s=280.0,
)
ADD_MEMORY = Rpc(
    "mongars.v1.cognition.add_memory",
    AddMemory,
    MemoryItem,
    owner=Principal.COGNITION,
    callers=_API,
    timeout_s=30.0,
)
EDIT_MEMORY = Rpc(
    "mongars.v1.cognition.edit_memory",
    EditMemory,
    MemoryItem,
    owner=Principal.COGNITION,
    callers=_API,
    timeout_s=30.0,
)
LIST_MEMORIES = Rpc(
    "mongars.v1.persistence.list_memories",
    ListMemories,
    Memories,
    owner=Principal.PERSISTENCE,
    callers=_API,
    max_bytes=64 * MIB,
)
READ_MEMORY = Rpc(
    "mongars.v1.persistence.read_memory",
    MemoryRef,
    MemoryItem,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
FORGET_MEMORY = Rpc(
    "mongars.v1.persistence.forget_memory",
    MemoryRef,
    Receipt,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=60.0,
)
FORGET_EVERYTHING = Rpc(
    "mongars.v1.persistence.forget_everything",
    UserMemory,
    Receipt,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=120.0,
)
MEMORY_CHANGED = Broadcast(
    "mongars.v1.persistence.memory_changed",
    MemoryChanged,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
)
