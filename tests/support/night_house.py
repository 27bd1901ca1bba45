"""A night for tests: phases that a test writes, jobs that use a processor, and everything around them real."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.scheduling import PLACE_JOB, PREEMPT, JobPlacement, PlaceJob, Preempt
from libs.shared.contracts.sleep import (
    SLEEP_CHANGED,
    SLEEP_NOW,
    SLEEP_STATUS,
    Cycle,
    CycleState,
    Phase,
    ReadSleep,
    SleepNow,
    SleepStatus,
)
from services.optimizer import service
from services.optimizer.night import Night, Parts
from services.optimizer.phases import registry
from services.optimizer.phases.base import Job, PhaseReport, PhaseWork
from services.optimizer.settings import OptimizerSettings

LIMIT_S = 30.0
ROOM = JobPlacement(room=True)
BURNS = "import time\nwhile True:\n    pass\n"
"""A job without libraries: it uses a processor, and never ends."""
ENCODES = """
import sys, os
from services.optimizer import child, jobs
jobs.JOBS["encode"] = "base64:b64encode"
jobs.JOBS["fail"] = "base64:b64decode"
child.main(sys.argv[1], int(sys.argv[2]))
"""
Connect = Callable[[Principal], Awaitable[Bus]]
Propose = Callable[[PhaseWork], Awaitable[PhaseReport]]


def burning(_: Job) -> tuple[str, ...]:
    """In place of a job's command."""
    return (sys.executable, "-c", BURNS)


def encoding(job: Job) -> tuple[str, ...]:
    """The real child, with jobs of the standard library."""
    import os

    return (sys.executable, "-c", ENCODES, job.name, str(os.getpid()))


@dataclass
class NightHouse:
    """``phases`` are the test's; the night is real."""

    buses: dict[Principal, Bus]
    parts: Parts
    night: Night
    told: list[Cycle] = field(default_factory=list)
    room: JobPlacement = ROOM

    @property
    def api(self) -> Bus:
        return self.buses[Principal.API]

    async def sleep(self, *phases: Phase) -> Cycle:
        return await self.api.request(SLEEP_NOW, SleepNow(phases=phases))

    async def status(self) -> SleepStatus:
        return await self.api.request(SLEEP_STATUS, ReadSleep())

    async def preempt(self) -> None:
        from datetime import UTC, datetime

        await self.api.broadcast(PREEMPT, Preempt(arrived_at=datetime.now(UTC)))

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not seen():  # noqa: ASYNC110 - of another process there is no event
                await asyncio.sleep(0.005)

    async def ended(self, cycle: Cycle) -> Cycle:
        def found() -> Cycle | None:
            kept = [one for one in self.parts.record.cycles if one.cycle_id == cycle.cycle_id]
            return kept[0] if kept and kept[0].state is not CycleState.RUNNING else None

        await self.until(lambda: found() is not None and self.night.running is None)
        last = found()
        assert last is not None
        return last

    def child(self) -> psutil.Process:
        (process,) = self.parts.gate.processes
        return psutil.Process(process.pid)

    async def computes(self) -> psutil.Process:
        await self.until(lambda: len(self.parts.gate.processes) == 1)
        return self.child()


@asynccontextmanager
async def sleeping(
    connect: Connect, state: Path, phases: Mapping[Phase, Propose], patch: pytest.MonkeyPatch, **settings: object
) -> AsyncIterator[NightHouse]:
    """A night on the buses that ``connect`` gives, with those phases."""
    patch.setattr(registry, "available", lambda: tuple(phase for phase in Phase if phase in phases))
    patch.setattr(registry, "load", lambda phase: phases[phase])
    buses = {one: await connect(one) for one in (Principal.API, Principal.SCHEDULER, Principal.OPTIMIZER)}
    made = OptimizerSettings.model_validate({"state": state, "node_id": "here", "sleep_threads": 1, **settings})
    parts = service.assembled(buses[Principal.OPTIMIZER], made)
    house = NightHouse(buses, parts, Night(parts))

    async def place(_: PlaceJob) -> JobPlacement:
        return house.room

    async def changed(cycle: Cycle) -> None:
        house.told.append(cycle)

    await buses[Principal.SCHEDULER].serve(PLACE_JOB, place)
    await buses[Principal.API].subscribe(SLEEP_CHANGED, changed)
    async with asyncio.TaskGroup() as tasks:
        await service.serve(buses[Principal.OPTIMIZER], tasks, parts, house.night)
        running = tasks.create_task(house.night.run())
        failed: Exception | None = None
        try:
            yield house
        except Exception as error:  # told as it is, and not in a group
            failed = error
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    for bus in buses.values():
        await bus.drain(2)
    if failed is not None:
        raise failed
