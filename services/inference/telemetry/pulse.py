"""When to publish: each second, at once on what matters, and never more often than readers can use."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

EVERY_S = 1.0
SOON_S = 0.25
"""For changes that only refine the picture."""
AT_ONCE_S = 0.02
"""For changes that matter; changes within this time go out together."""
AT_ONCE_MOST, AT_ONCE_WITHIN_S = 4, 2.0
"""So many go out at once within so long; after that every change only comes soon. A node that is overloaded changes its
queue with each request, and must not spend its processor on telling of it: readers know what they sent."""


class Pulse:
    """``nudge`` on every change, ``wait`` before every publication."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() - EVERY_S
        self._due = self._loop.time()
        self._wake = asyncio.Event()
        self._urgent = False
        self._at_once: deque[float] = deque(maxlen=AT_ONCE_MOST)

    def nudge(self, urgent: bool) -> None:
        """Brings the next publication forward; costs next to nothing when it is near already."""
        urgent = urgent and self._may_go_at_once()
        due = self._last + (AT_ONCE_S if urgent else SOON_S)
        if due < self._due:
            self._due = due
            self._urgent = urgent
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
        if self._urgent:
            self._at_once.append(self._last)
            self._urgent = False

    def _may_go_at_once(self) -> bool:
        return len(self._at_once) < AT_ONCE_MOST or self._loop.time() - self._at_once[0] >= AT_ONCE_WITHIN_S
