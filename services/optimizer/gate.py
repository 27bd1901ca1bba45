"""What stands between idle work and the machine: while anybody holds it, nothing of it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from libs.shared.background.process import HeldProcess


class Gate:
    """Child processes are stopped as soon as it is held, and go on when nobody holds it any more; what reaches for
    other services waits in ``clear``."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._holders: dict[str, tuple[str, ...]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._held_s = 0.0
        self._held_since: float | None = None
        self.processes: set[HeldProcess] = set()

    @property
    def held(self) -> bool:
        return bool(self._holders)

    @property
    def held_by(self) -> tuple[str, ...]:
        """Why, each reason once."""
        return tuple(dict.fromkeys(reason for reasons in self._holders.values() for reason in reasons))

    @property
    def held_s(self) -> float:
        """For how long altogether."""
        return self._held_s + (self._clock() - self._held_since if self._held_since is not None else 0.0)

    def hold(self, holder: str, reasons: tuple[str, ...] = ()) -> None:
        """At once."""
        first = not self._holders
        self._holders[holder] = reasons or self._holders.get(holder, ())
        if first:
            self._open.clear()
            for process in self.processes:
                process.pause()
            self._held_since = self._clock()

    def release(self, holder: str) -> None:
        """What ``holder`` held it for is over; one that doesn't hold it changes nothing."""
        if self._holders.pop(holder, None) is None or self._holders:
            return
        self._held_s, self._held_since = self.held_s, None
        self._open.set()
        for process in self.processes:
            process.go_on()

    async def clear(self) -> None:
        """Returns once nobody holds it."""
        await self._open.wait()

    def join(self, process: HeldProcess) -> None:
        """It stops when this is held, which may be now."""
        self.processes.add(process)
        if self.held:
            process.pause()

    def leave(self, process: HeldProcess) -> None:
        self.processes.discard(process)
