"""Replaying what was really asked: the optimizer asks cognition, and is told numbers; no text leaves cognition.

Only what its asker allows at that moment is replayed, on this machine alone. Persistence says which questions those
are; cognition, which saw them when they were asked, looks up again what was known then, and hands on the parts of each
memory's score before any weight, with the memories that the answer rested on. Weighing them anew needs nothing more.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Vector

_OPTIMIZER = frozenset({Principal.OPTIMIZER})
_COGNITION = frozenset({Principal.COGNITION})
MOST_REPLAYED = 32
"""Questions of a page: each takes a search, as an asker's would."""
MOST_CHECKED = 5000


class ReadAsked(Message):
    """Asks for questions that may be replayed now, oldest first, over all who allow it."""

    cursor: str | None = None
    limit: int = Field(default=MOST_REPLAYED, ge=1, le=MOST_REPLAYED)
    since: datetime | None = None
    """Only those asked at this moment or later."""
    user_id: Id | None = None
    """Only this user's."""
    whatever_answered: bool = False
    """Also those whose answer tells nothing: what was asked counts, not what came of it."""


class AskedTurn(Message):
    """A question with the answer that a model gave to it. One that was rated down, broke off or only quotes is none."""

    turn_id: Id
    user_id: Id
    conversation_id: Id
    question: str
    answer: str
    at: datetime
    """When it was asked."""


class AskedRead(Message):
    """A page; without a cursor it is the last. An empty one may have a cursor: what can't be used is passed over."""

    asked: tuple[AskedTurn, ...] = ()
    next_cursor: str | None = None


class ReplayAsked(Message):
    """Asks for evidence, a page of questions at a time."""

    cursor: str | None = None
    limit: int = Field(default=MOST_REPLAYED, ge=1, le=MOST_REPLAYED)
    since: datetime | None = None


class Alike(Message):
    """Two candidates that tell the same."""

    one: int
    other: int
    """Places among the candidates."""
    likeness: float


class Evidence(Message):
    """All that was found for a question, as it would have been when it was asked; candidates newest first.

    The score of a candidate is the sum of its parts, each times its factor (``libs/shared/recall_sums.py``); of equal
    scores the newer stands first. No text, and nobody's name.
    """

    turn_id: Id
    conversation_id: Id
    """Questions of one conversation aren't independent of each other."""
    parts: tuple[str, ...]
    """Those that the question has."""
    columns: Vector
    """Candidates x parts, row by row."""
    evidence: tuple[float, ...]
    """By candidate, how much speaks for it (what ``recall_min_score`` is held against)."""
    tokens: tuple[int, ...]
    """By candidate, what its text takes of a prompt."""
    newer: tuple[int, ...]
    """By candidate, the place of what tells otherwise since then, or −1."""
    alike: tuple[Alike, ...] = ()
    past: bool = False
    """It asks for what was before: nothing newer is put above the older then."""
    relevant: tuple[int, ...] = ()
    """The places of those that the answer rested on; none where that can't be told, or it rested on none."""
    room_tokens: int = Field(default=0, ge=0)
    """What a prompt may take of the model that would answer now; 0: nobody knows."""


class Replayed(Message):
    """A page. ``passed_over``: questions of it whose answer can't be told to rest on any memory; those that were looked
    up are there nevertheless, for what memories would have cost them."""

    evidence: tuple[Evidence, ...] = ()
    passed_over: int = 0
    next_cursor: str | None = None


class StillAllowed(Message):
    """Asks which of these turns may still be replayed."""

    turn_ids: tuple[Id, ...] = Field(max_length=MOST_CHECKED)


class Allowed(Message):
    """Those that may."""

    turn_ids: tuple[Id, ...]


READ_ASKED = Rpc(
    "mongars.v1.persistence.read_asked",
    ReadAsked,
    AskedRead,
    owner=Principal.PERSISTENCE,
    callers=_COGNITION,
    max_bytes=16 * MIB,
    timeout_s=10.0,
)
STILL_ALLOWED = Rpc(
    "mongars.v1.persistence.still_allowed",
    StillAllowed,
    Allowed,
    owner=Principal.PERSISTENCE,
    callers=_OPTIMIZER,
    timeout_s=10.0,
)
REPLAY_ASKED = Rpc(
    "mongars.v1.cognition.replay_asked",
    ReplayAsked,
    Replayed,
    owner=Principal.COGNITION,
    callers=_OPTIMIZER,
    max_bytes=16 * MIB,
    timeout_s=120.0,
)
"""Waits while somebody else is served."""
