"""The turns of late, and those that each watch compares: kept over a restart, numbers and times alone, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, Field

from libs.shared.contracts.watching import TurnMeasured, TurnRated
from services.optimizer.kept_files import read_kept, write_kept
from services.optimizer.watch.arms import Arms
from services.optimizer.watch.thumbs import MOST_THUMBS, Thumbs

MOST_TURNS = 2000
MOST_COMPARED = 500
"""On either side of a change."""
SETTLING = timedelta(seconds=2)
"""Turns that began so soon after a change may have had either."""


_Turn = TurnMeasured | TurnRated


def _tries(turn: _Turn) -> bool:
    return turn.arm is not None and turn.arm.tried


class Compared(BaseModel):
    """What one watch compares. ``before`` is taken once and stays, so that all looks are at one and the same bet. What
    conversations told that tried something else out is left out."""

    since: datetime
    """The change came into force."""
    back_to: datetime | None = None
    """Something else did, and turns before it tell nothing of this one."""
    until: datetime | None = None
    """Something else did, and turns after it tell nothing of this one."""
    before: tuple[TurnMeasured, ...]
    after: list[TurnMeasured] = Field(default_factory=list)
    """In the order in which they were told."""
    thumbs: Thumbs = Field(default_factory=Thumbs)

    def take(self, turn: TurnMeasured) -> None:
        """Keeps it where it tells something of the change."""
        if self.is_after(turn) and len(self.after) < MOST_COMPARED:
            self.after.append(turn)

    def rate(self, rated: TurnRated) -> None:
        """A thumb on an answer of either side."""
        if self.is_after(rated):
            self.thumbs.take(rated, after=True)
        elif self.is_before(rated):
            self.thumbs.take(rated, after=False)

    def is_after(self, turn: _Turn) -> bool:
        """Whether it had the change, and nothing that came later."""
        in_time = turn.began > self.since + SETTLING and (self.until is None or turn.began < self.until)
        return in_time and not _tries(turn)

    def is_before(self, turn: _Turn) -> bool:
        """Whether it had all but the change."""
        in_time = turn.began < self.since and (self.back_to is None or turn.began > self.back_to + SETTLING)
        return in_time and not _tries(turn)


class _Kept(BaseModel):
    turns: tuple[TurnMeasured, ...] = ()
    ratings: tuple[TurnRated, ...] = ()
    watches: dict[str, Compared] = Field(default_factory=dict)
    trials: dict[str, Arms] = Field(default_factory=dict)


class LatestTurns:
    """What cognition told of its turns, in the order in which it did."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = read_kept(path, _Kept, _Kept())
        self._turns = deque(kept.turns, maxlen=MOST_TURNS)
        self._ratings = {one.began: one for one in kept.ratings}
        self._watches = dict(kept.watches)
        self._trials = dict(kept.trials)
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
        if turn.arm is not None and (trial := self._trials.get(turn.arm.change_id)) is not None:
            trial.take(turn)

    async def rated(self, rated: TurnRated) -> None:
        """TURN_RATED: the newest thumb on a turn is the one that counts."""
        earlier = self._ratings.get(rated.began)
        self._ratings[rated.began] = rated if earlier is None else rated.model_copy(update={"again": earlier.again})
        if len(self._ratings) > MOST_THUMBS:
            self._ratings.pop(next(iter(self._ratings)))
        self.heard += 1
        for watch in self._watches.values():
            watch.rate(rated)
        if rated.arm is not None and (trial := self._trials.get(rated.arm.change_id)) is not None:
            trial.rate(rated)

    def conversations(self, within: timedelta, now: datetime) -> int:
        """How many there are in such a time, by as much of it as is known."""
        full = len(self._turns) == self._turns.maxlen
        known = min(within, max(SETTLING, now - self._turns[0].began)) if full else within
        told = sum(not turn.again and now - known <= turn.began <= now for turn in self._turns)
        return round(told * (within / known))

    def arms(self, change_id: str) -> Arms:
        """What the trial of the change compares."""
        trial = self._trials.get(change_id)
        if trial is None:
            trial = self._trials[change_id] = Arms()
            for turn in self._turns:
                if turn.arm is not None and turn.arm.change_id == change_id:
                    trial.take(turn)
            for rated in self._ratings.values():
                if rated.arm is not None and rated.arm.change_id == change_id:
                    trial.rate(rated)
        return trial

    def compared(self, change_id: str, at: datetime, turning_points: Sequence[datetime]) -> Compared:
        """Turns before the change, as they were at the first look, and those after it until something else changed."""
        watch = self._watches.get(change_id)
        if watch is None or watch.since != at:
            watch = self._watches[change_id] = self._begun(at, turning_points)
        watch.until = min((one for one in turning_points if one > at), default=None)
        return watch

    def only(self, change_ids: Collection[str]) -> None:
        """Forgets the watches and trials of all others: they are over."""
        self._watches = {name: watch for name, watch in self._watches.items() if name in change_ids}
        self._trials = {name: trial for name, trial in self._trials.items() if name in change_ids}

    def keep(self) -> None:
        """Writes them, where there are new ones."""
        if self.heard != self._kept:
            self._kept = self.heard
            ratings = tuple(self._ratings.values())
            kept = _Kept(turns=tuple(self._turns), ratings=ratings, watches=self._watches, trials=self._trials)
            write_kept(self._path, kept)

    def _begun(self, at: datetime, turning_points: Sequence[datetime]) -> Compared:
        since = max((one for one in turning_points if one < at), default=None)
        until = min((one for one in turning_points if one > at), default=None)
        watch = Compared(since=at, back_to=since, until=until, before=())
        newest = filter(watch.is_before, reversed(self._turns))
        watch.before = tuple(islice(newest, MOST_COMPARED))[::-1]
        for turn in self._turns:
            watch.take(turn)
        for rated in self._ratings.values():
            watch.rate(rated)
        return watch
