"""Room on the disk of the state folder: writes are refused while what is left is needed to go on reading."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

from libs.shared.errors import StorageFull

_MIB = 1024 * 1024
_BELIEVED_S = 0.2
DISK_FULL = "disk-full"
"""The word at ``/readyz``."""


def free_bytes(path: Path) -> int:
    """What the disk of ``path`` has free for this process's user."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class DiskRoom:
    """Broker and database end badly when the disk is really full, so the last ``reserve_mib`` are theirs alone.

    ``clock`` tells seconds; what was measured is believed for a fifth of one.
    """

    def __init__(
        self,
        folder: Path,
        reserve_mib: int,
        *,
        free: Callable[[Path], int] = free_bytes,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._folder = folder
        self._reserve = reserve_mib * _MIB
        self._free = free
        self._clock = clock
        self._looked_at: float | None = None
        self._short = False

    def short(self) -> bool:
        """Whether writes have to wait for room."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at > _BELIEVED_S:
            self._short = self._measure()
            self._looked_at = now
        return self._short

    def refusing(self, handler: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """The same handler, which raises StorageFull at once while room is short."""

        async def handle(request: Any) -> Any:
            if self.short():
                raise StorageFull("The disk of the installation is full: make room, and it goes on by itself.")
            return await handler(request)

        return handle

    def _measure(self) -> bool:
        try:
            return self._free(self._folder) < self._reserve
        except OSError:  # the folder is away: whoever writes there will say so
            return False
