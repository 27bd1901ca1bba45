"""How far back in the order of use a key lies when it is asked for again: from that, every cache size's hits at once.

R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger, *Evaluation techniques for storage hierarchies*, IBM Systems
Journal 9 (1970): a cache that gives up the longest unused holds a key exactly when what was used since, and the key
itself, fit. So that memory stays bounded however many keys there are, only those with a small hash are followed, fewer
the more there are (fixed-size SHARDS: C. Waldspurger, N. Park, A. Garthwaite, I. Ahmad, *Efficient MRC construction
with SHARDS*, FAST 2015). Keys are known by a hash whose salt this process alone has, and forgets with itself.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b
from secrets import token_bytes
from typing import NamedTuple

MOST_KEYS = 2048
"""Followed at the same time."""
_ALL = 1 << 64


class Reuse(NamedTuple):
    """One use of a key that is followed."""

    distance: float | None
    """What a cache has to hold for the key to be in it still, in the unit of sizes; None: it wasn't used before."""
    weight: float
    """How many uses it stands for."""


class StackDistances:
    """Belongs to one thread. Exact as long as there are no more keys than are followed."""

    def __init__(self, most: int = MOST_KEYS, salt: bytes | None = None) -> None:
        self._most = most
        self._salt = token_bytes(16) if salt is None else salt
        self._below = _ALL
        self._places: dict[int, int] = {}
        """By hash, in the order of use."""
        self._largest: list[int] = []
        self._begin(2 * most + 2)

    @property
    def held(self) -> float:
        """The size of everything that was ever used, as far as can be told."""
        return self._total / self._rate

    @property
    def _rate(self) -> float:
        return self._below / _ALL

    def note(self, key: str, size: int = 1) -> Reuse | None:
        """``key`` is used, and takes ``size`` from now on; None: it isn't followed."""
        number = int.from_bytes(blake2b(key.encode(), key=self._salt, digest_size=8).digest(), "big")
        if number >= self._below:
            return None
        told = Reuse(self._left(number, size), 1.0 / self._rate)
        self._use(number, size)
        return told

    def _left(self, number: int, size: int) -> float | None:
        """Takes the key out of its place: what was used since then, and its own."""
        place = self._places.pop(number, None)
        if place is None:
            heapq.heappush(self._largest, -number)
            return None
        since = self._total - self._sum(place)
        self._add(place, -self._sizes[place])
        return since / self._rate + size

    def _use(self, number: int, size: int) -> None:
        if self._next == len(self._sizes):
            self._close_ranks()
        self._places[number] = self._next
        self._add(self._next, size)
        self._next += 1
        while len(self._places) > self._most:
            self._below = -heapq.heappop(self._largest)
            place = self._places.pop(self._below)
            self._add(place, -self._sizes[place])

    def _close_ranks(self) -> None:
        """Numbers the places anew from the first on."""
        kept = [(number, self._sizes[place]) for number, place in self._places.items()]
        self._begin(len(self._sizes))
        for number, size in kept:
            self._places[number] = self._next
            self._add(self._next, size)
            self._next += 1

    def _begin(self, room: int) -> None:
        self._sizes, self._sums = [0] * room, [0] * (room + 1)
        self._next = self._total = 0

    def _add(self, place: int, size: int) -> None:
        """Sums of runs in a Fenwick tree (P. Fenwick, Software: Practice and Experience 24, 1994)."""
        self._sizes[place] += size
        self._total += size
        at = place + 1
        while at < len(self._sums):
            self._sums[at] += size
            at += at & -at

    def _sum(self, place: int) -> int:
        """Of all places up to this one."""
        found, at = 0, place + 1
        while at:
            found += self._sums[at]
            at -= at & -at
        return found
