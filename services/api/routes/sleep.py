"""``/api/v1/sleep``: what the installation does for itself while nobody needs it, for operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field

from libs.shared.contracts.sleep import SLEEP_NOW, SLEEP_STATUS, Cycle, Phase, ReadSleep, SleepNow, SleepStatus
from services.api.access import Access
from services.api.bodies import Body
from services.api.routing import Endpoint, PartsOf

Cycles = Annotated[int, Query(ge=0, le=50, description="Of those that ended, the newest first.")]


class Wanted(Body):
    """Which phases; empty: all that there are."""

    phases: list[Literal["light", "deep", "paradoxical"]] = Field(default=[], max_length=8)


async def read_sleep(parts: PartsOf, cycles: Cycles = 10) -> SleepStatus:
    """Whether it sleeps, why not, how long it is likely to stay quiet, and the last cycles."""
    return await parts.bus.request(SLEEP_STATUS, ReadSleep(cycles=cycles))


async def sleep_now(parts: PartsOf, body: Wanted) -> Cycle:
    """Begins a cycle without waiting for a quiet time. It makes way for requests, heat and power all the same."""
    return await parts.bus.request(SLEEP_NOW, SleepNow(phases=tuple(Phase(name) for name in body.phases)))


_OPTIONS: dict[str, Any] = {"tags": ["sleep"]}
_OF: dict[str, Any] = {"access": Access.OPERATOR, "options": _OPTIONS}
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/sleep", handler=read_sleep, **_OF),
    Endpoint(method="POST", path="/api/v1/sleep/now", handler=sleep_now, status=202, **_OF),
)
