"""Thumbs on the answers of two sides, of which one may be worse: they come late, and may be turned round."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from libs.shared.contracts.watching import TurnRated

MOST_THUMBS = 500
"""On either side."""


class Thumbs(BaseModel):
    """By when its turn began, whether an answer is rated badly, in the order in which each had its first thumb: a later
    look is at the same pairs, and at how they stand now."""

    before: dict[datetime, bool] = Field(default_factory=dict)
    after: dict[datetime, bool] = Field(default_factory=dict)

    def take(self, rated: TurnRated, *, after: bool) -> None:
        """Of a conversation the first counts; turned round it counts still, taken back it doesn't."""
        side = self.after if after else self.before
        if rated.bad is None:
            side.pop(rated.began, None)
        elif rated.began in side or (not rated.again and len(side) < MOST_THUMBS):
            side[rated.began] = rated.bad
