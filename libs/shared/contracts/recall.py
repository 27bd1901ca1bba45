"""Recalling: cognition asks persistence for evidence within one user, ranks it, and reads the texts of the best."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Position, Vector
from libs.shared.contracts.memory import MemoryItem

_COGNITION = frozenset({Principal.COGNITION})


class ReadProfile(Message):
    """What has to be known of a user's memory before a question is understood."""

    user_id: Id


class Profile(Message):
    """Kept by cognition until MEMORY_CHANGED, or for a minute."""

    names: tuple[str, ...] = ()
    """The speakers of the user's memories other than ``user`` and ``assistant``, most frequent first, at most 256."""
    embedder: str | None = None
    """``name@version`` whose vectors are searched: the question needs one of it. None: no vectors yet."""
    memories: int = 0
    digests: int | None = None
    """The generation of digests that is in force; None: none is."""


class Interval(Message):
    """A stretch of time, UTC; ``end`` is not in it."""

    start: datetime
    end: datetime


class FindCandidates(Message):
    """Evidence for a question within one user: the best by terms with the turns around them, the best by vector, the
    best of both within the named times; and the newest memories that aren't indexed yet (at most 32)."""

    user_id: Id
    terms: tuple[str, ...] = Field(default=(), max_length=256)
    """Normalised terms; persistence hashes them with the user's term key."""
    vector: Vector | None = None
    embedder: str | None = None
    limit: int = Field(default=64, ge=1, le=1000)
    """Most candidates by each kind of evidence."""
    intervals: tuple[Interval, ...] = Field(default=(), max_length=8)
    read_after: Position | None = None
    background: bool = False
    """Nobody waits for it: it says nothing of which indexes are needed in memory."""


class Candidates(Message):
    """Columns, one place a candidate, in no particular order. Texts are read afterwards, for the best."""

    ordinals: tuple[int, ...] = ()
    """By which READ_MEMORIES finds them."""
    conversations: tuple[int, ...] = ()
    """Equal numbers are one conversation; good for this reply only."""
    speakers: tuple[int, ...] = ()
    """Places in ``names``."""
    at: tuple[float, ...] = ()
    """Seconds since 1970."""
    words: tuple[int, ...] = ()
    traits: tuple[int, ...] = ()
    """What cognition noted of the text when it was indexed (bits; persistence does not know what they mean)."""
    importance: tuple[float, ...] = ()
    uses: tuple[int, ...] = ()
    """How often it stood in a prompt."""
    used_at: tuple[float, ...] = ()
    """Seconds since 1970 of the last use; 0.0: never."""
    pinned: tuple[bool, ...] = ()
    bm25: tuple[float, ...] = ()
    """BM25 within the turns around it (k1 0.8, b 0.75; see ``services/persistence/scoring.py``); unbounded, ≥ 0."""
    cosine: tuple[float | None, ...] = ()
    """None where it has no vector of the embedder."""
    newer: tuple[int, ...] = ()
    """The place of the memory that tells otherwise since then (it is always among the candidates), or −1."""
    names: tuple[str, ...] = ()
    """Speakers: ``user``, ``assistant``, or imported names."""
    whole_bm25: float = 0.0
    """BM25 of a turn of mean length that holds every term of the question once, unknown terms included: by it the
    evidence of different questions compares. 0.0: the question has no terms."""
    fresh: tuple[MemoryItem, ...] = ()
    """Said a moment ago and not searchable yet; they come without evidence, whatever the question was."""


class ReadMemories(Message):
    """The texts of chosen candidates."""

    user_id: Id
    ordinals: tuple[int, ...] = Field(max_length=1000)


class MemoriesRead(Message):
    """In the order asked; what was forgotten meanwhile is absent, so ``ordinals`` says which came."""

    ordinals: tuple[int, ...]
    items: tuple[MemoryItem, ...]


READ_PROFILE = Rpc(
    "mongars.v1.persistence.read_profile",
    ReadProfile,
    Profile,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    timeout_s=10.0,
)
FIND_CANDIDATES = Rpc(
    "mongars.v1.persistence.find_candidates",
    FindCandidates,
    Candidates,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=16 * MIB,
    timeout_s=10.0,
)
READ_MEMORIES = Rpc(
    "mongars.v1.persistence.read_memories",
    ReadMemories,
    MemoriesRead,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=96 * MIB,
    timeout_s=10.0,
)
