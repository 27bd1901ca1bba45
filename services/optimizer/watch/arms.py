"""The conversations that try a change out beside others of the same time: what one trial compares."""

from __future__ import annotations

from pydantic import BaseModel, Field

from libs.shared.contracts.watching import TurnMeasured, TurnRated
from services.optimizer.watch.thumbs import Thumbs

MOST_PAIRS = 500
MOST_WAITING = 50
"""Turns of one side that nothing of the other was held against yet: older ones are left out."""


class Arms(BaseModel):
    """Pairs of two turns that are near in time, in the order in which they came together; a pair stays as it is, so
    that all looks are at one and the same bet.

    One turn of a conversation counts. Which conversations try it out was drawn by lot, whoever's they are, so that
    without a loss either of a pair is worse as often as the other.
    """

    pairs: list[tuple[TurnMeasured, TurnMeasured]] = Field(default_factory=list)
    """As it is for the others, and as it is tried out."""
    waiting: list[TurnMeasured] = Field(default_factory=list)
    """All of one side."""
    thumbs: Thumbs = Field(default_factory=Thumbs)

    def take(self, turn: TurnMeasured) -> None:
        """One of the trial's turns: held against the newest of the other side that waits for one."""
        if turn.arm is None or turn.again or len(self.pairs) >= MOST_PAIRS:
            return
        if self.waiting and _tried(self.waiting[-1]) is not turn.arm.tried:
            other = self.waiting.pop()
            self.pairs.append((other, turn) if turn.arm.tried else (turn, other))
        else:
            self.waiting = [*self.waiting, turn][-MOST_WAITING:]

    def rate(self, rated: TurnRated) -> None:
        """A thumb on an answer of one of the trial's turns."""
        if rated.arm is not None:
            self.thumbs.take(rated, after=rated.arm.tried)


def _tried(turn: TurnMeasured) -> bool:
    return turn.arm is not None and turn.arm.tried
