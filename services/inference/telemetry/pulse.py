"""When to publish: each second, at once on what matters, and never more often than readers can use."""

from __future__ import annotations

import asyncio
from contextlib import suppress

EVERY_S = 1.0
SOON_S = 0.25
"""For changes that only refine the picture."""
AT_ONCE_S = 0.02
"""For changes that matter; changes within this time go out together."""


class Pulse:
    """``nudge`` on every change, ``wait`` before every publication."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() - EVERY_S
        self._due = self._loop.time()
        self._wake = asyncio.Event()

    def nudge(self, urgent: bool) -> None:
        """Brings the next publication forward; costs next to nothing when it is near already."""
        due = self._last + (AT_ONCE_S if urgent else SOON_S)
        if due < self._due:
            self._due = due
            self._wake.set()

    async def wait(self) -> None:
        """Returns when it is time."""
        while (pause := self._due - self._loop.time()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        self._last = self._loop.time()
        self._due = self._last + EVERY_S
