"""Whether turns are under way, so that work that nobody waits for lets them pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Traffic:
    """Counts the requests of this process that somebody waits for."""

    def __init__(self) -> None:
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """The block is one such request."""
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def give_way(self, longest_s: float) -> None:
        """Returns once nothing is under way, or after so long."""
        try:
            async with asyncio.timeout(longest_s):
                await self._quiet.wait()
        except TimeoutError:
            return
