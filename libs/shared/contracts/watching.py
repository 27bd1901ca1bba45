"""How turns go, in numbers alone: what a change of settings is watched by. Spoken by cognition and the optimizer."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import Broadcast, Message, Principal


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
    """Of a model's answer, the share of its runs of four words that stood in it before; None where it is too short."""


TURN_MEASURED = Broadcast(
    "mongars.v1.cognition.turn_measured",
    TurnMeasured,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.OPTIMIZER}),
)
TURN_UNANSWERED = Broadcast(
    "mongars.v1.api.turn_unanswered",
    TurnMeasured,
    owner=Principal.API,
    callers=frozenset({Principal.OPTIMIZER}),
)
"""A turn that cognition never took: nobody else could tell of it."""
