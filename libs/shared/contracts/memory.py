"""Searching and indexing what was said: the api asks cognition, cognition asks persistence."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Consumer, Event, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Position, Speaker, Vector
from libs.shared.contracts.jobs import JOBS


class SearchMemory(Message):
    """A question to a user's memory, in the user's words."""

    user_id: Id
    query: str = Field(min_length=1, max_length=8192)
    k: int = Field(default=10, ge=1, le=100)
    explain: bool = False
    read_after: Position | None = None


class MemoryItem(Message):
    """A found memory; ``parts`` are the score's components, filled when explained."""

    id: Id
    text: str
    score: float
    source_id: str
    conversation_id: Id
    speaker: str
    at: datetime
    parts: dict[str, float] = Field(default_factory=dict)


class MemoryItems(Message):
    """Best first."""

    items: tuple[MemoryItem, ...]
    degraded: str | None = None
    """Why part of the search did not run, such as ``no-embedder``."""


SEARCH_MEMORY = Rpc(
    "mongars.v1.cognition.search_memory",
    SearchMemory,
    MemoryItems,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.API}),
    max_bytes=8 * MIB,
    timeout_s=15.0,
)


class FindCandidates(Message):
    """Evidence for a query within one user: the best by terms and the best by vector, each with both scores, and the
    newest messages that aren't indexed yet (at most 32)."""

    user_id: Id
    terms: tuple[str, ...] = Field(default=(), max_length=256)
    """Normalised terms; persistence hashes them with the user's term key."""
    vector: Vector | None = None
    embedder: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    """Most candidates by each kind of evidence."""
    not_in_conversation: Id | None = None
    """Leaves out a conversation whose turns stand in the prompt anyway."""
    read_after: Position | None = None


class Candidate(Message):
    """A message with its raw evidence; None where that evidence does not exist."""

    message_id: Id
    conversation_id: Id
    speaker: Speaker
    text: str
    at: datetime
    bm25: float | None = None
    """Okapi BM25 (k1 1.2, b 0.75) over the user's messages; unbounded, ≥ 0."""
    cosine: float | None = None
    indexed: bool = True
    """False: said a moment ago and not searchable yet; it comes without evidence, whatever the question was."""


class Candidates(Message):
    """In no particular order."""

    candidates: tuple[Candidate, ...]


FIND_CANDIDATES = Rpc(
    "mongars.v1.persistence.find_candidates",
    FindCandidates,
    Candidates,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=16 * MIB,
    timeout_s=10.0,
)


class IndexRequested(Message):
    """Messages were kept and should become searchable."""

    user_id: Id
    conversation_id: Id
    message_ids: tuple[Id, ...]
    job_id: Id | None = None
    """The job to report on; None: the event's message id. A job that failed is offered again in another event."""


class ReadUnindexed(Message):
    """The readable text of messages to index; those that are forgotten, or have terms and a vector, are simply absent
    from the reply."""

    user_id: Id
    message_ids: tuple[Id, ...] = Field(max_length=1000)


class UnindexedMessage(Message):
    """A text to index, with the turn before it as context."""

    message_id: Id
    speaker: Speaker
    text: str
    previous_text: str | None
    at: datetime


class UnindexedMessages(Message):
    """What is left of the asked ones."""

    messages: tuple[UnindexedMessage, ...]


class IndexRow(Message):
    """What makes one message searchable."""

    message_id: Id
    terms: dict[str, int]
    """Normalised term → how often it occurs."""
    vector: Vector | None = None


class IndexMessages(Message):
    """Idempotent by message id and embedder."""

    user_id: Id
    embedder: str | None
    """``name@version`` of what made the vectors."""
    rows: tuple[IndexRow, ...] = Field(max_length=1000)
    done_jobs: tuple[Id, ...] = Field(default=(), max_length=1000)
    """The user's jobs that end with these rows: they are done in the same transaction."""


class Indexed(Message):
    """How many rows were written; forgotten messages are passed over."""

    count: int


INDEX_REQUESTED = Event(
    "mongars.v1.persistence.index_requested",
    IndexRequested,
    owner=Principal.PERSISTENCE,
    stream=JOBS,
    consumers=(Consumer(name="index_messages", service=Principal.COGNITION, max_ack_pending=32, ack_wait_s=60.0),),
)
READ_UNINDEXED = Rpc(
    "mongars.v1.persistence.read_unindexed",
    ReadUnindexed,
    UnindexedMessages,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=64 * MIB,
    timeout_s=15.0,
)
INDEX_MESSAGES = Rpc(
    "mongars.v1.persistence.index_messages",
    IndexMessages,
    Indexed,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=64 * MIB,
    timeout_s=30.0,
)
