"""What a phase is given: the bus, a folder, the child processes, and what others tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.sleep import PhaseProgress, Tried
from services.optimizer import computing
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job


@dataclass(frozen=True)
class Work:
    """PhaseWork."""

    bus: Bus
    folder: Path
    cycle_id: str
    others: tuple[Tried, ...]
    gate: Gate
    threads: int
    told: Callable[[PhaseProgress], None]
    left_s: Callable[[], float]

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.left_s())

    async def clear(self) -> None:
        await self.gate.clear()

    async def compute(self, job: Job) -> bytes:
        return await computing.compute(job, self.gate, self.threads)

    def tell(self, progress: PhaseProgress) -> None:
        self.told(progress)
