"""Whether turns are under way, so that work that nobody waits for lets them pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

LULL_S = 0.1
"""Between two requests of a busy hour less time passes."""


class Traffic:
    """Counts the requests of this process that somebody waits for."""

    def __init__(self) -> None:
        self._under_way = 0
        self._begun = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """The block is one such request."""
        self._under_way += 1
        self._begun += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def give_way(self, longest_s: float) -> None:
        """Returns once nothing has been under way for a moment, or after so long."""
        try:
            async with asyncio.timeout(longest_s):
                while True:
                    await self._quiet.wait()
                    began = self._begun
                    await asyncio.sleep(LULL_S)
                    if not self._under_way and self._begun == began:
                        return
        except TimeoutError:
            return
