"""The turns of late, and those that each watch compares: kept over a restart, numbers and times alone, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, Field

from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.kept_files import read_kept, write_kept

MOST_TURNS = 2000
MOST_COMPARED = 500
"""On either side of a change."""
SETTLING = timedelta(seconds=2)
"""Turns that began so soon after a change may have had either."""


class Compared(BaseModel):
    """What one watch compares. ``before`` is taken once and stays, so that all looks are at one and the same bet."""

    since: datetime
    """The change came into force."""
    until: datetime | None = None
    """Something else did, and turns after it tell nothing of this one."""
    before: tuple[TurnMeasured, ...]
    after: list[TurnMeasured] = Field(default_factory=list)
    """In the order in which they were told."""

    def take(self, turn: TurnMeasured) -> None:
        """Keeps it where it tells something of the change."""
        in_time = turn.began > self.since + SETTLING and (self.until is None or turn.began < self.until)
        if in_time and len(self.after) < MOST_COMPARED:
            self.after.append(turn)


class _Kept(BaseModel):
    turns: tuple[TurnMeasured, ...] = ()
    watches: dict[str, Compared] = Field(default_factory=dict)


class LatestTurns:
    """What cognition told of its turns, in the order in which it did."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = read_kept(path, _Kept, _Kept())
        self._turns = deque(kept.turns, maxlen=MOST_TURNS)
        self._watches = dict(kept.watches)
        self.heard = 0
        """Since this process began."""
        self._kept = 0

    @property
    def oldest(self) -> datetime | None:
        """When the first of them began."""
        return min((turn.began for turn in self._turns), default=None)

    async def told(self, turn: TurnMeasured) -> None:
        """TURN_MEASURED."""
        self._turns.append(turn)
        self.heard += 1
        for watch in self._watches.values():
            watch.take(turn)

    def compared(self, change_id: str, at: datetime, turning_points: Sequence[datetime]) -> Compared:
        """Turns before the change, as they were at the first look, and those after it until something else changed."""
        watch = self._watches.get(change_id)
        if watch is None or watch.since != at:
            watch = self._watches[change_id] = self._begun(at, turning_points)
        watch.until = min((one for one in turning_points if one > at), default=None)
        return watch

    def only(self, change_ids: Collection[str]) -> None:
        """Forgets the watches of all others: they are over."""
        self._watches = {name: watch for name, watch in self._watches.items() if name in change_ids}

    def keep(self) -> None:
        """Writes them, where there are new ones."""
        if self.heard != self._kept:
            self._kept = self.heard
            write_kept(self._path, _Kept(turns=tuple(self._turns), watches=self._watches))

    def _begun(self, at: datetime, turning_points: Sequence[datetime]) -> Compared:
        since = max((one for one in turning_points if one < at), default=None)
        until = min((one for one in turning_points if one > at), default=None)
        newest = (t for t in reversed(self._turns) if t.began < at and (since is None or t.began > since + SETTLING))
        watch = Compared(since=at, until=until, before=tuple(islice(newest, MOST_COMPARED))[::-1])
        for turn in self._turns:
            watch.take(turn)
        return watch
