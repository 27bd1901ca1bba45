"""Says that a GPU of this node lies idle: once in the log, and in the node's telemetry for as long as it is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.shared.hardware.accelerators import Accelerator, idle, read_accelerators, read_builds
from libs.shared.telemetry import get_logger

log = get_logger(__name__)


class IdleGpus:
    """``backends`` gives what models are served with now."""

    def __init__(self, backends: Callable[[], frozenset[str]]) -> None:
        self._backends = backends
        self._accelerators: tuple[Accelerator, ...] = ()
        self._builds: dict[str, frozenset[str]] = {}

    async def look(self) -> None:
        """Once the models are up: which GPUs there are, and what the installed libraries were built for."""
        self._accelerators = await asyncio.to_thread(read_accelerators)
        if self._accelerators:
            self._builds = await asyncio.to_thread(read_builds)
        for one in idle(self._accelerators, self._builds, self._backends()):
            log.warning("gpu_idle", gpu=one.accelerator.name, found=one.found, remedy=one.remedy)

    def troubles(self) -> tuple[str, ...]:
        """Words for telemetry's ``degraded``."""
        if not self._accelerators:
            return ()
        found = idle(self._accelerators, self._builds, self._backends())
        return tuple(f"{one.accelerator.name}: {one.found}" for one in found)
