"""Making memories searchable after they were kept: persistence asks, cognition makes terms and vectors."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Consumer, Event, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Vector
from libs.shared.contracts.jobs import JOBS
from libs.shared.contracts.memory import MemoryKind

_COGNITION = frozenset({Principal.COGNITION})


class IndexRequested(Message):
    """Memories were kept and should become searchable."""

    user_id: Id
    conversation_id: Id | None = None
    """None: of several."""
    message_ids: tuple[Id, ...]
    job_id: Id | None = None
    """The job to report on; None: the event's message id. A job that failed is offered again in another event."""
    embedder: str | None = None
    """``name@version``: its vectors alone are wanted (re-indexing). None: terms, and vectors of the one in use."""


class ReadUnindexed(Message):
    """The readable text of memories to index; those that are forgotten, or have what is wanted, are simply absent."""

    user_id: Id
    message_ids: tuple[Id, ...] = Field(max_length=1000)
    embedder: str | None = None
    """As in IndexRequested."""
    indexed_too: bool = False
    """Also those that have what is wanted: a job that ended half way is drawn on again."""


class UnindexedMessage(Message):
    """A text to index."""

    message_id: Id
    kind: MemoryKind = MemoryKind.MESSAGE
    speaker: str
    """``user``, ``assistant``, or the name that it was imported with."""
    text: str
    at: datetime
    importance: float | None = None
    """As the user set it; None: to be judged."""
    version: int | None = None
    """Of the text; an edit gives another."""


class UnindexedMessages(Message):
    """What is left of the asked ones."""

    messages: tuple[UnindexedMessage, ...]
    embedder: str | None = None
    """``name@version`` of the vectors that the user's memory has, which new ones have to be of; None: any."""


class IndexRow(Message):
    """What makes one memory searchable."""

    message_id: Id
    terms: dict[str, int] = Field(default_factory=dict)
    """Normalised term → how often it occurs. Empty when only a vector is added."""
    vector: Vector | None = None
    speaker: str = "user"
    words: int = Field(default=0, ge=0)
    traits: int = Field(default=0, ge=0, lt=2**32)
    importance: float = Field(default=0.0, ge=0, le=1)
    version: int | None = None
    """Of the text that this was made of: one that was edited since is passed over. None: not known."""


class IndexMessages(Message):
    """Idempotent by message id and embedder."""

    user_id: Id
    embedder: str | None
    """``name@version`` of what made the vectors."""
    rows: tuple[IndexRow, ...] = Field(max_length=1000)
    done_jobs: tuple[Id, ...] = Field(default=(), max_length=1000)
    """The user's jobs that end with these rows: they are done in the same transaction."""


class Indexed(Message):
    """How many rows were written; forgotten memories are passed over."""

    count: int


INDEX_REQUESTED = Event(
    "mongars.v1.persistence.index_requested",
    IndexRequested,
    owner=Principal.PERSISTENCE,
    stream=JOBS,
    # all that is taken is held at the same time, each for as long as no node has room; after a kill it comes again soon
    consumers=(
        Consumer(name="index_messages", service=Principal.COGNITION, max_ack_pending=256, at_once=256, ack_wait_s=15.0),
    ),
)
READ_UNINDEXED = Rpc(
    "mongars.v1.persistence.read_unindexed",
    ReadUnindexed,
    UnindexedMessages,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=96 * MIB,
    timeout_s=15.0,
)
INDEX_MESSAGES = Rpc(
    "mongars.v1.persistence.index_messages",
    IndexMessages,
    Indexed,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=64 * MIB,
    timeout_s=30.0,
)
