"""A cache's hits at every size, hour by hour, as it is used: counts alone, and no more than two weeks of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from libs.shared.cache.distances import StackDistances
from libs.shared.contracts.caching import MOST_HOURS, MOST_SIZES, CacheHour

HOUR_S = 3600.0
NEWEST_WEIGHT = 0.05
"""Of one load in what a miss costs: the last twenty count for most of it."""
_MIB = 1024 * 1024


@dataclass
class _Hour:
    number: int
    within: list[float]
    """By size, the uses that it holds and the next smaller one doesn't; the last: those that none holds."""
    held_mib: float = 0.0


@dataclass
class UseCurve:
    """What was used of a cache of bytes. ``sizes_mib`` ascending."""

    sizes_mib: Sequence[int]
    distances: StackDistances = field(default_factory=StackDistances)
    miss_s: float | None = None
    _hours: deque[_Hour] = field(default_factory=lambda: deque(maxlen=MOST_HOURS))

    def used(self, key: str, nbytes: int, now: float) -> None:
        """At ``now``, seconds on any clock that only goes forward."""
        told = self.distances.note(key, nbytes)
        if told is None:
            return
        hour = self._hour(int(now // HOUR_S))
        place = len(self.sizes_mib)
        if told.distance is not None:
            place = bisect_left(self.sizes_mib, told.distance / _MIB)
        hour.within[place] += told.weight
        hour.held_mib = self.distances.held / _MIB

    def brought(self, seconds: float) -> None:
        """A miss took so long."""
        before = seconds if self.miss_s is None else self.miss_s
        self.miss_s = before + NEWEST_WEIGHT * (seconds - before)

    @property
    def hours(self) -> tuple[CacheHour, ...]:
        """Those in which something was used, the oldest first."""
        return tuple(
            CacheHour(uses=sum(hour.within), hits=tuple(accumulate(hour.within[:-1])), held_mib=hour.held_mib)
            for hour in self._hours
        )

    def _hour(self, number: int) -> _Hour:
        if not self._hours or self._hours[-1].number != number:
            self._hours.append(_Hour(number, [0.0] * (len(self.sizes_mib) + 1)))
        return self._hours[-1]


def steps_to(room_mib: int, least_mib: int) -> tuple[int, ...]:
    """Sizes from ``least_mib`` on, each a half or a third more than the last, and the whole room."""
    sizes: list[int] = []
    size = least_mib
    while size < room_mib and len(sizes) < MOST_SIZES - 2:
        sizes += [one for one in (size, size * 3 // 2) if one < room_mib]
        size *= 2
    return (*sizes, max(room_mib, least_mib))
