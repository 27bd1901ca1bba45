"""How turns go, in numbers alone: what a change of settings is watched by. Told by cognition and persistence, heard by
the optimizer."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import Broadcast, Message, Principal
from libs.shared.contracts.common import Id


class Arm(Message):
    """On which side of a trial a turn was."""

    change_id: Id
    """What is tried out."""
    tried: bool
    """Its conversation has it; False: it has what holds for the others."""


class TurnMeasured(Message):
    """One turn, at its end; one that its client left tells nothing. Nothing says whose it was, or what was said."""

    began: datetime
    """By cognition's clock, to within a millisecond of when the request came in."""
    first_s: float | None = Field(default=None, ge=0)
    """Until the first piece of the answer; None: none came."""
    failed: bool = False
    """It ended with an error that isn't the request's own fault."""
    evidence: float | None = Field(default=None, ge=0, le=1)
    """How much of the question is in the best memory recalled: 0 where none was, None where none was sought."""
    repetition: float | None = Field(default=None, ge=0, le=1)
    """Of a model's answer, the share of its runs of four words (of signs, where it has hardly any words) that stood in
    it before; None where it is too short."""
    arm: Arm | None = None
    """None: nothing was tried out."""
    again: bool = False
    """An earlier turn of its conversation was told in the same trial (or since the last, where nothing is tried out):
    turns of one conversation are alike, and count as one where conversations are compared."""


class TurnRated(Message):
    """A thumb that was given to an answer, turned round or taken back. Nothing says whose it was."""

    began: datetime
    """As TurnMeasured has it: a turn's thumb counts once, as it stands now."""
    bad: bool | None
    """None: it was taken back."""
    arm: Arm | None = None
    """None: nothing is tried out now, or the turn began before that was."""
    again: bool = False
    """An earlier thumb was given in its conversation."""


TURN_MEASURED = Broadcast(
    "mongars.v1.cognition.turn_measured",
    TurnMeasured,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.OPTIMIZER}),
)
TURN_RATED = Broadcast(
    "mongars.v1.persistence.turn_rated",
    TurnRated,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.OPTIMIZER}),
)
"""Once the thumb stands."""
TURN_UNANSWERED = Broadcast(
    "mongars.v1.api.turn_unanswered",
    TurnMeasured,
    owner=Principal.API,
    callers=frozenset({Principal.OPTIMIZER}),
)
"""A turn that cognition never took: nobody else could tell of it."""
