"""Telling how busy this process is, where a service may have several: processor time, lateness, memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, process_time
from uuid import uuid4

import psutil

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.scaling import TOLD_EVERY_S, WORKER, WorkerTold
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

LOOKS = 8
"""Of the event loop's lateness, for each time that it is told of."""
_MIB = 1 << 20

log = get_logger(__name__)


@dataclass
class _Times:
    wall_s: float
    processor_s: float


class WorkerMeter:
    """Measures from one ``told`` to the next; the clocks are the process's own unless given."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        used: Callable[[], float] = process_time,
        memory_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._clock, self._used = clock, used
        self._memory_bytes = memory_bytes or (lambda: int(psutil.Process().memory_info().rss))
        self._worker = uuid4().hex
        self._before = _Times(clock(), used())
        self._late_s = 0.0

    def late(self, by_s: float) -> None:
        """The event loop came round so much later than it should have."""
        self._late_s = max(self._late_s, by_s)

    def told(self, *, leaving: bool) -> WorkerTold:
        """Since the last time."""
        now = _Times(self._clock(), self._used())
        interval_s = max(0.001, now.wall_s - self._before.wall_s)
        told = WorkerTold(
            worker=self._worker,
            at=datetime.now(UTC),
            interval_s=interval_s,
            busy=max(0.0, now.processor_s - self._before.processor_s) / interval_s,
            late_s=max(0.0, self._late_s),
            memory_mib=self._memory_bytes() / _MIB,
            leaving=leaving,
        )
        self._before, self._late_s = now, 0.0
        return told


async def tell_how_busy(bus: Bus, service: Principal, leaving: Callable[[], bool]) -> None:
    """Until it is cancelled."""
    meter, pause_s = WorkerMeter(), TOLD_EVERY_S / LOOKS
    loop = asyncio.get_running_loop()
    while True:
        for _ in range(LOOKS):
            due = loop.time() + pause_s
            await asyncio.sleep(pause_s)
            meter.late(loop.time() - due)
        try:
            await bus.broadcast(WORKER[service], meter.told(leaving=leaving()))
        except ServiceError as error:
            log.debug("worker_untold", code=error.code)
