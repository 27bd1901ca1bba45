"""Digests of memories, made at night: a generation of them is written, committed to, and put in force by the ledger.

A digest is what one memory tells: its telling sentences, whole, their times written out, each with a vector. It is
sealed under the memory's own key, and goes with it. Spoken by the optimizer, cognition and persistence.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id

_OPTIMIZER = frozenset({Principal.OPTIMIZER})
MOST_DIGESTED = 500
"""Memories of one request."""
TELLING_KEY_BYTES = 8
"""Of the key of what one sentence tells."""
KEY = "digest:"
"""Before a user's id: the ledger's key of what is in force for that user."""


class Generation(Message):
    """The digests that one night added to those before it."""

    generation_id: Id
    number: int
    """Within the user: those of ``base`` and up to this one count, of each memory the newest."""
    base: int
    recipe: str
    """What made them, with its version, such as ``extractive@1``."""
    embedder: str | None = None
    """``name@version`` of their vectors; None: they have none."""
    digests: int = 0
    """Written in this generation."""
    commitment: str | None = None
    """SHA-256 over what is written, as it is sealed; None: still being written."""
    in_force: bool = False


class InForceValue(Message):
    """What a change of the ledger holds: a generation, and the commitment to it."""

    generation: Id
    commitment: str = Field(min_length=64, max_length=64)


class ListUndigested(Message):
    """Whose memories have no digest yet by the recipe: users by id, those with the most first."""

    recipe: str = Field(max_length=64)
    limit: int = Field(default=100, ge=1, le=1000)


class Undigested(Message):
    """How many memories of each of these users wait."""

    waiting: dict[Id, int]


class BeginDigests(Message):
    """Opens the user's next generation, or goes on with the one that is being written by the same recipe and embedder
    (that of the user's memory).

    What is in force stays so; what was written beyond it and not put in force goes.
    """

    user_id: Id
    recipe: str = Field(min_length=1, max_length=64)


class ReadUndigested(Message):
    """Memories that the generation lacks, oldest first. Raises ``digests_gone``."""

    user_id: Id
    generation_id: Id
    limit: int = Field(default=100, ge=1, le=MOST_DIGESTED)


class UndigestedMemory(Message):
    """A memory to digest."""

    message_id: Id
    version: int
    """Of its text; an edit gives another."""
    text: str
    speaker: str
    at: datetime


class UndigestedMemories(Message):
    """None: all are digested."""

    memories: tuple[UndigestedMemory, ...] = ()


class Digest(Message):
    """What a memory tells; nothing, where there are no sentences."""

    message_id: Id
    version: int = 0
    sentences: tuple[str, ...] = Field(default=(), max_length=256)
    vectors: bytes = b""
    """int8, one vector after another, a vector a sentence; empty: none were made."""
    keys: bytes = b""
    """TELLING_KEY_BYTES a sentence, one after another: sentences of equal keys are one and the same telling, and merged
    wherever they meet. Made of the memory alone, so that none says anything of another. Empty: none were made."""

    def key_of(self, place: int) -> bytes:
        """Of the sentence there; empty: it is merged with nothing."""
        return self.keys[place * TELLING_KEY_BYTES : (place + 1) * TELLING_KEY_BYTES]


class KeepDigests(Message):
    """Raises ``digests_gone``; a memory that was forgotten or edited since it was read is passed over."""

    user_id: Id
    generation_id: Id
    digests: tuple[Digest, ...] = Field(max_length=MOST_DIGESTED)


class DigestsKept(Message):
    """How many were written, and their sealed bytes together."""

    count: int
    sealed_bytes: int = 0


class GenerationRef(Message):
    """One of a user's generations. Raises ``digests_gone``."""

    user_id: Id
    generation_id: Id


class ReadDigests(Message):
    """Digests of chosen memories, by what is in force; ``generation_id``: as if that one were, to be evaluated."""

    user_id: Id
    message_ids: tuple[Id, ...] = Field(max_length=1000)
    generation_id: Id | None = None


class Digests(Message):
    """Those that there are; ``generation`` None: none is in force."""

    generation: Generation | None = None
    digests: tuple[Digest, ...] = ()


LIST_UNDIGESTED = Rpc(
    "mongars.v1.persistence.list_undigested",
    ListUndigested,
    Undigested,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    timeout_s=30.0,
)
BEGIN_DIGESTS = Rpc(
    "mongars.v1.persistence.begin_digests",
    BeginDigests,
    Generation,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    timeout_s=30.0,
)
READ_UNDIGESTED = Rpc(
    "mongars.v1.persistence.read_undigested",
    ReadUndigested,
    UndigestedMemories,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    max_bytes=96 * MIB,
    timeout_s=15.0,
)
KEEP_DIGESTS = Rpc(
    "mongars.v1.persistence.keep_digests",
    KeepDigests,
    DigestsKept,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    max_bytes=64 * MIB,
    timeout_s=30.0,
)
SEAL_DIGESTS = Rpc(
    "mongars.v1.persistence.seal_digests",
    GenerationRef,
    Generation,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    timeout_s=30.0,
)
"""Nothing more is written to it: gives the commitment that a change of the ledger holds."""
READ_DIGESTS = Rpc(
    "mongars.v1.persistence.read_digests",
    ReadDigests,
    Digests,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION, Principal.OPTIMIZER}),
    max_bytes=32 * MIB,
    timeout_s=10.0,
)
