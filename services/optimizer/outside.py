"""Work for the processor outside of cycles: one at a time, and it makes way for requests as a cycle's work does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import Preempt
from services.optimizer import computing
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job

_HOLDER = "outside"


class Outside:
    """Its child processes join the gate that a cycle's do: whoever holds that holds these as well.

    It insists on room after having waited for long: what it does is short, and a person may wait for it.
    """

    def __init__(self, bus: Bus, node_id: str | None, gate: Gate, threads: int) -> None:
        self._gate = gate
        self._threads = threads
        self._yielding = Yielding(bus, node_id)
        self._one = asyncio.Lock()

    async def preempted(self, told: Preempt) -> None:
        """PREEMPT: what runs stops before anything else is done."""
        await self._yielding.preempted(told)

    @asynccontextmanager
    async def making_way(self) -> AsyncIterator[None]:
        """Within it ``clear`` and ``compute`` wait for whoever waits for an answer."""
        async with self._one:
            await self._yielding.wait_for_room(lambda _: None)
            holding = asyncio.create_task(self._hold())
            try:
                yield
            finally:
                holding.cancel()
                await asyncio.gather(holding, return_exceptions=True)
                self._gate.release(_HOLDER)

    async def clear(self) -> None:
        """Returns once nobody waits for an answer: to be awaited before each request to another service."""
        await self._gate.clear()

    async def compute(self, job: Job) -> bytes:
        """In a child process. Raises JobFailed, TimeoutError."""
        return await computing.compute(job, self._gate, self._threads)

    async def _hold(self) -> None:
        await self._yielding.hold(
            lambda: self._gate.hold(_HOLDER),
            lambda: self._gate.release(_HOLDER),
            lambda reasons: self._gate.hold(_HOLDER, reasons) if reasons else None,
        )
