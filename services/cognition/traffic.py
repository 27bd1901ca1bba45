"""Whether requests are under way, here or elsewhere, so that work that nobody waits for lets them pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from libs.shared.contracts.scheduling import Preempt

LULL_S = 0.1
"""Between two requests of a busy hour less time passes."""
HOLD_S = 0.5
"""How long a request that an api has announced counts as under way: one that comes here is counted by then, and one
that doesn't is placed by then, so that the scheduler knows of it."""


class Traffic:
    """Counts the requests of this process that somebody waits for, and hears of all others."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._begun = 0
        self._held_until = 0.0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._next = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether some request is under way, as far as is known."""
        return self._under_way > 0 or self._clock() < self._held_until

    @contextmanager
    def passing(self) -> Iterator[None]:
        """The block is one such request."""
        self._under_way += 1
        self._quiet.clear()
        self._begins()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def preempted(self, _: Preempt) -> None:
        """PREEMPT: an api has taken a request."""
        self.announced()

    def announced(self) -> None:
        """Some request is under way, as an api told, or as somebody who heard of it did."""
        self._held_until = self._clock() + HOLD_S
        self._begins()

    async def arrival(self) -> None:
        """Returns when the next request begins."""
        await self._next.wait()

    def _begins(self) -> None:
        self._begun += 1
        self._next.set()
        self._next = asyncio.Event()

    async def give_way(self, longest_s: float) -> None:
        """Returns once nothing has been under way for a moment, or after so long."""
        try:
            async with asyncio.timeout(longest_s):
                while True:
                    await self._quiet.wait()
                    began = self._begun
                    await asyncio.sleep(max(LULL_S, self._held_until - self._clock()))
                    if not self._under_way and self._begun == began:
                        return
        except TimeoutError:
            return


class Pauses:
    """Of one round of background work: between two portions it stops while requests are under way."""

    def __init__(self, traffic: Traffic, most_s: float, clock: Callable[[], float] = monotonic) -> None:
        """``most_s``: of all pauses together, so that it comes to its end some time. Beyond that each still stops for a
        request, and lasts as long at most as it has worked since the last one; after a portion that was stopped as
        long as what stopped it counts, or the next would be stopped, too."""
        self._traffic = traffic
        self._most_s = most_s
        self._clock = clock
        self._one = asyncio.Lock()
        self._worked_since = clock()
        self._refused = False
        self.paused_s = 0.0

    def refused(self) -> None:
        """A portion was stopped where it ran, for a request of which this process may not have heard yet."""
        self._refused = True
        self._traffic.announced()

    async def __call__(self) -> None:
        """Returns at once when nothing is under way."""
        async with self._one:
            if not self._traffic.busy:
                return
            began = self._clock()
            least_s = HOLD_S if self._refused else 0.0
            self._refused = False
            await self._traffic.give_way(max(self._most_s - self.paused_s, began - self._worked_since, least_s))
            self._worked_since = self._clock()
            self.paused_s += self._worked_since - began
