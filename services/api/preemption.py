"""Telling whoever works in the background that somebody waits from now on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import PREEMPT, Preempt
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

AGAIN_S = 0.1
"""Requests within so long of one that was told of are not: those who heard of it rest for several times as long."""

log = get_logger(__name__)


class Preemption:
    """Told once a burst of requests, before anything else is done for them. What is lost is told with the next."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self._told_at = float("-inf")

    async def tell(self, kind: Literal["chat", "embed", "search"]) -> None:
        """Never raises: a request doesn't fail for want of silence."""
        now = self._clock()
        if now - self._told_at < AGAIN_S:
            return
        self._told_at = now
        try:
            await self._bus.broadcast(PREEMPT, Preempt(kind=kind, arrived_at=datetime.now(UTC)))
        except ServiceError as error:
            self._told_at = float("-inf")
            log.debug("preemption_untold", code=error.code)
