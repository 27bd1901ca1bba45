"""The turns of late, kept over a restart: numbers and times alone, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.kept_files import read_kept, write_kept

MOST_TURNS = 2000
SETTLING = timedelta(seconds=2)
"""Turns that began so soon after a change may have had either."""


class _Kept(BaseModel):
    turns: tuple[TurnMeasured, ...] = ()


class LatestTurns:
    """What cognition told of its turns, oldest first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = deque(read_kept(path, _Kept, _Kept()).turns, maxlen=MOST_TURNS)
        self.heard = 0
        """Since this process began."""
        self._kept = 0

    async def told(self, turn: TurnMeasured) -> None:
        """TURN_MEASURED."""
        self._turns.append(turn)
        self.heard += 1

    def keep(self) -> None:
        """Writes them, where there are new ones."""
        if self.heard != self._kept:
            self._kept = self.heard
            write_kept(self._path, _Kept(turns=tuple(self._turns)))

    def around(self, at: datetime, turning_points: Sequence[datetime]) -> tuple[list[TurnMeasured], list[TurnMeasured]]:
        """Those before a change and those after it, each up to the next moment at which something else changed."""
        since = max((one for one in turning_points if one < at), default=None)
        until = min((one for one in turning_points if one > at), default=None)
        before = [t for t in self._turns if t.began < at and (since is None or t.began > since + SETTLING)]
        after = [t for t in self._turns if t.began > at + SETTLING and (until is None or t.began < until)]
        return before, after
