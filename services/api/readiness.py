"""Whether the installation can do its work, by dependency; asked of every service at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import IN_BACKGROUND, SERVICES, Empty, Principal
from libs.shared.contracts.telemetry import HEALTH, DependencyHealth, Health
from libs.shared.errors import ServiceError

_ASKED = tuple(service for service in SERVICES if service is not Principal.API)
_TIMEOUT_S = 1.0
_BELIEVED_S = 0.25


@dataclass(frozen=True)
class Readied:
    """The answer of ``/readyz``."""

    ready: bool
    dependencies: dict[str, DependencyHealth]
    degraded: tuple[str, ...]


class Readiness:
    """Answers a quarter of a second old serve everyone who asks: the path is open, and must not cost much."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._last: Readied | None = None
        self._at = 0.0
        self._asking = asyncio.Lock()

    async def read(self) -> Readied:
        async with self._asking:
            if self._last is None or monotonic() - self._at > _BELIEVED_S:
                self._last = await self._ask()
                self._at = monotonic()
            return self._last

    async def _ask(self) -> Readied:
        if not self._bus.connected:
            return summed_up(False, {service.value: None for service in _ASKED})
        answers = await asyncio.gather(*(self._health(service) for service in _ASKED))
        return summed_up(True, {service.value: answer for service, answer in zip(_ASKED, answers, strict=True)})

    async def _health(self, service: Principal) -> Health | None:
        try:
            return await self._bus.request(HEALTH[service], Empty(), timeout_s=_TIMEOUT_S)
        except ServiceError:
            return None


def summed_up(broker: bool, answers: dict[str, Health | None]) -> Readied:
    """One picture of all: a service that doesn't answer is not ready, and a database that nobody tells of neither.

    A service in the background is named like the others, and the whole is ready without it."""
    dependencies = {
        "broker": DependencyHealth(ok=broker, detail="" if broker else "not connected"),
        "database": DependencyHealth(ok=False, detail="persistence does not answer"),
    }
    degraded: list[str] = []
    for service, health in answers.items():
        if health is None:
            dependencies[service] = DependencyHealth(ok=False, detail="does not answer")
            continue
        dependencies[service] = DependencyHealth(ok=health.ready, detail=_reason(health))
        if service == Principal.PERSISTENCE and "database" in health.dependencies:
            dependencies["database"] = health.dependencies["database"]
        degraded += [reason for reason in health.degraded if reason not in degraded]
    needed = (dependency.ok for name, dependency in dependencies.items() if name not in IN_BACKGROUND)
    return Readied(all(needed), dependencies, tuple(degraded))


def _reason(health: Health) -> str:
    if health.ready:
        return ""
    failing = [name for name, dependency in health.dependencies.items() if not dependency.ok]
    return "waits for " + ", ".join(failing) if failing else "starting"
