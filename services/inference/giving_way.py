"""A model's trial gives way to the requests of every local model beside it, which share its processor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class GivingWay:
    """One for all the replicas of a process that compute there."""

    def __init__(self) -> None:
        self.trying = False
        """From when a trial begins until the backend has left it, which it may do later than it was told to."""
        self._requests = 0
        self._trial: asyncio.Timeout | None = None

    def request_begins(self) -> None:
        """Ends the trial that is under way, and lets none begin until the request has ended too."""
        self._requests += 1
        self.end()

    def request_ended(self) -> None:
        self._requests -= 1

    def end(self) -> None:
        """Says that the trial is over."""
        trial, self._trial = self._trial, None
        # One whose own time ran out is ending already, and can't be told again.
        if trial is not None and not trial.expired():
            trial.reschedule(asyncio.get_running_loop().time())

    async def trial(self, work: Callable[[], Awaitable[None]], limit_s: float) -> bool:
        """Does ``work`` for at most ``limit_s`` seconds; False: a request came, or was there before. Raises what it
        raises."""
        if self._requests:
            return False
        self.trying = True
        try:
            async with asyncio.timeout(limit_s) as self._trial:
                await work()
        except TimeoutError:
            if self._trial is None:
                return False
        finally:
            self._trial = None
            self.trying = False
        return True
