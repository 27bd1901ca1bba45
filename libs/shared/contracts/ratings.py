"""Thumbs on answers, and what of one's conversations may be trained and tuned on: the api asks, persistence keeps.

A thumb says whether an answer was good. It permits nothing: only consent does, a conversation at a time.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import AdapterName, Id, Page, Position

_API = frozenset({Principal.API})


class Thumb(StrEnum):
    """What its user thinks of an answer."""

    UP = "up"
    DOWN = "down"


class Rating(Message):
    """A thumb on the answer of one turn."""

    turn_id: Id
    conversation_id: Id
    thumb: Thumb
    at: datetime
    """When the thumb was given, or turned round; giving the same one again changes nothing."""


class RateTurn(Message):
    """Gives a thumb, or takes it back (None). Raises ``turn_not_found``, for another user's turn too."""

    user_id: Id
    turn_id: Id
    """Of the turn, or of one of its messages."""
    thumb: Thumb | None
    read_after: Position | None = None


class Rated(Message):
    """How it stands now; None: without a thumb."""

    rating: Rating | None


class ListRatings(Page):
    """One user's thumbs, newest first."""

    user_id: Id
    thumb: Thumb | None = None
    """None: both."""


class Ratings(Message):
    """A page."""

    ratings: tuple[Rating, ...]
    next_cursor: str | None = None


class TrainingChoices(Message):
    """What a user decided for all of their conversations; nothing is given away until they say so."""

    future: bool = False
    """Whether conversations that begin from now on may be trained on without being asked for one by one."""
    future_since: datetime | None = None
    """Those that began before this moment are not meant."""
    share_adapters: bool = False
    """Whether others may use an adapter that these words trained."""
    tuning: bool = False
    """Whether questions that were asked may be replayed on this machine, to tune how memories are found."""


class ChangeTrainingChoices(Message):
    """Sets what is given. ``future`` taken back withdraws what it alone had allowed."""

    user_id: Id
    future: bool | None = None
    share_adapters: bool | None = None
    tuning: bool | None = None


class TrainingChoicesChanged(Message):
    """How it stands now, and which adapters were trained on what is withdrawn."""

    choices: TrainingChoices
    tainted_adapters: tuple[AdapterName, ...] = ()


class ConversationConsent(Message):
    """Whether a conversation may be trained on, and why."""

    conversation_id: Id
    title: str | None
    messages: int
    allowed: bool
    decided: bool
    """Its owner decided on this one; otherwise ``future`` did."""
    decided_at: datetime | None = None
    remembered: bool = True
    """What isn't remembered is never trained on, whatever was decided."""
    created_at: datetime
    updated_at: datetime


class SetConsent(Message):
    """Allows training on a conversation, or withdraws that. Raises ``conversation_not_found``: for another user's, and
    for what was imported, whose answers are not this installation's."""

    user_id: Id
    conversation_id: Id
    allowed: bool
    read_after: Position | None = None


class ConsentSet(Message):
    """How it stands now, and which adapters were trained on what is withdrawn."""

    consent: ConversationConsent
    tainted_adapters: tuple[AdapterName, ...] = ()


class ListConsents(Page):
    """One user's conversations with what may be done with them, most recently used first."""

    user_id: Id
    allowed: bool | None = None
    """Only those that may be trained on, or only those that may not; None: all."""
    read_after: Position | None = None


class Consents(Message):
    """A page, with what holds for all of them."""

    choices: TrainingChoices
    conversations: tuple[ConversationConsent, ...]
    next_cursor: str | None = None


RATE_TURN = Rpc(
    "mongars.v1.persistence.rate_turn",
    RateTurn,
    Rated,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
LIST_RATINGS = Rpc(
    "mongars.v1.persistence.list_ratings",
    ListRatings,
    Ratings,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
LIST_CONSENTS = Rpc(
    "mongars.v1.persistence.list_consents",
    ListConsents,
    Consents,
    owner=Principal.PERSISTENCE,
    callers=_API,
    max_bytes=4 * MIB,
)
SET_CONSENT = Rpc(
    "mongars.v1.persistence.set_consent",
    SetConsent,
    ConsentSet,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=15.0,
)
CHANGE_TRAINING_CHOICES = Rpc(
    "mongars.v1.persistence.change_training_choices",
    ChangeTrainingChoices,
    TrainingChoicesChanged,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=15.0,
)
