"""One cycle: its phases one after another, each ended when it fails or takes too long, and told of as it goes."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from libs.shared.bus.base import Bus
from libs.shared.contracts.sleep import (
    SLEEP_CHANGED,
    Cycle,
    CycleState,
    Energy,
    Phase,
    PhaseOutcome,
    PhaseState,
    Tried,
)
from libs.shared.errors import ServiceError
from libs.shared.hardware.boards import Profile
from libs.shared.layout import StateFolder
from libs.shared.telemetry import get_logger, metrics
from services.optimizer.energy import Account, night_energy
from services.optimizer.gate import Gate
from services.optimizer.phases import registry
from services.optimizer.phases.base import JobFailed, PhaseReport
from services.optimizer.work import Work

LOOK_S = 0.5
PATIENCE_S = 5.0
"""For a phase that was told to end."""
MOST_FIGURES = 32

log = get_logger(__name__)


@dataclass(frozen=True)
class Machine:
    """What runs it, and what it draws."""

    threads: int
    cores: float
    profile: Profile
    account: Callable[[], Account]


@dataclass
class Sleeping:
    """A cycle that is under way. ``run`` may be cancelled: what it was about is then told as it stands."""

    bus: Bus
    folder: StateFolder
    gate: Gate
    machine: Machine
    phase_limit_s: float
    others: tuple[Tried, ...]
    keep: Callable[[Cycle], None]
    cycle: Cycle
    clock: Callable[[], float] = monotonic
    tried: list[Tried] = field(default_factory=list)
    closing: tuple[CycleState, str] = (CycleState.INTERRUPTED, "the optimizer was stopped")
    """How it ends where it is cancelled."""
    _told: Cycle | None = None

    async def run(self) -> None:
        """Until the last phase has ended."""
        self.keep(self.cycle)
        await self.tell()
        for number in range(len(self.cycle.phases)):
            await self._phase(number)
        self.closing = (CycleState.DONE, "")

    def end(self) -> None:
        """As ``closing`` says. Once."""
        if self.cycle.state is not CycleState.RUNNING:
            return
        state, reason = self.closing
        for number, one in enumerate(self.cycle.phases):
            if one.state is PhaseState.RUNNING:
                self._change(number, state=PhaseState.STOPPED, progress=None, left=True)
        about = {"state": state, "reason": reason, "ended_at": datetime.now(UTC), "energy": _sum(self.cycle.phases)}
        self.cycle = self.cycle.model_copy(update=about)
        metrics.SLEEP_CYCLES.add(1, {"sleep.outcome": state.value})
        log.info("sleep_ended", cycle_id=self.cycle.cycle_id, outcome=state.value)
        self.keep(self.cycle)

    async def _phase(self, number: int) -> None:
        phase = self.cycle.phases[number].phase
        log.info("sleep_phase_begun", cycle_id=self.cycle.cycle_id, phase=phase.value)
        self._change(number, state=PhaseState.RUNNING)
        meter = _Meter(self)
        try:
            state, report, why = await self._ended(number, phase, meter.used_s)
        finally:
            used = meter.read()
            self._change(number, **used)
            _count(phase, used["energy"])
        told = _reported(report) if report else {"done": why, "left": state is PhaseState.TIMED_OUT}
        self._change(number, state=state, progress=None, **told)
        if report is not None:
            self.tried += report.tried
        log.info("sleep_phase_ended", cycle_id=self.cycle.cycle_id, phase=phase.value, outcome=state.value)
        self.keep(self.cycle)
        await self.tell()

    async def _ended(
        self, number: int, phase: Phase, used_s: Callable[[], float]
    ) -> tuple[PhaseState, PhaseReport | None, str]:
        """Its state, what it reports, or why there is no report."""
        task = asyncio.create_task(self._propose(number, phase, used_s))
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=LOOK_S)
                await self.tell()
                if not task.done() and used_s() > self.phase_limit_s:
                    return PhaseState.TIMED_OUT, None, f"it ran for longer than {self.phase_limit_s:.0f} s"
            return PhaseState.DONE, task.result(), ""
        except ServiceError as error:
            return PhaseState.FAILED, None, error.code
        except Exception as error:
            log.error("sleep_phase_failed", phase=phase.value, exc_info=error)
            return PhaseState.FAILED, None, _named(error)
        finally:
            task.cancel()
            await asyncio.wait((task,), timeout=PATIENCE_S)

    async def _propose(self, number: int, phase: Phase, used_s: Callable[[], float]) -> PhaseReport:
        propose = registry.load(phase)
        folder = self.folder.sleep / phase.value
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Work(
            bus=self.bus,
            folder=folder,
            cycle_id=self.cycle.cycle_id,
            others=self.others,
            gate=self.gate,
            threads=self.machine.threads,
            told=lambda progress: self._change(number, progress=progress),
            left_s=lambda: self.phase_limit_s - used_s(),
        )
        await self.gate.clear()
        return await propose(work)

    def _change(self, number: int, **about: Any) -> None:
        phases = list(self.cycle.phases)
        phases[number] = phases[number].model_copy(update=about)
        self.cycle = self.cycle.model_copy(update={"phases": tuple(phases)})

    async def tell(self) -> None:
        """What is new; it holds nothing up."""
        if self.cycle is self._told:
            return
        self._told = self.cycle
        try:
            await self.bus.broadcast(SLEEP_CHANGED, self.cycle)
        except ServiceError as error:
            log.debug("sleep_untold", code=error.code)


class _Meter:
    """Time, processors and energy, from now on."""

    def __init__(self, sleeping: Sleeping) -> None:
        self._sleeping = sleeping
        self._begun = sleeping.clock()
        self._held_before = sleeping.gate.held_s
        self._cpu_before = _children_cpu_s()
        self._account = sleeping.machine.account()

    def used_s(self) -> float:
        """Seconds in which it didn't have to make way."""
        return self._sleeping.clock() - self._begun - (self._sleeping.gate.held_s - self._held_before)

    def read(self) -> dict[str, Any]:
        """As a PhaseOutcome has it."""
        machine, cpu_s = self._sleeping.machine, _children_cpu_s() - self._cpu_before
        took_s = self._sleeping.clock() - self._begun
        return {
            "took_s": round(took_s, 3),
            "held_s": round(max(0.0, took_s - self.used_s()), 3),
            "cpu_s": round(cpu_s, 3),
            "energy": night_energy(self._account, machine.account(), cpu_s, machine.profile, machine.cores),
        }


def _count(phase: Phase, energy: Energy) -> None:
    metrics.SLEEP_JOULES.add(energy.joules, {"sleep.phase": phase.value, "sleep.energy.source": energy.source})


def _named(error: Exception) -> str:
    """A job says what it was by the error's name alone; of any other, the name is told."""
    return str(error)[:200] if isinstance(error, JobFailed | TimeoutError) and str(error) else type(error).__name__


def _reported(report: PhaseReport) -> dict[str, object]:
    figures = dict(list(report.figures.items())[:MOST_FIGURES])
    return {"done": report.done[:500], "changes": report.changes[:64], "figures": figures, "left": report.left}


def _children_cpu_s() -> float:
    """Of every child process that this one has seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sum(phases: Sequence[PhaseOutcome]) -> Energy | None:
    """Measured only where each part is."""
    told = [one.energy for one in phases if one.energy is not None]
    if not told:
        return None
    measured = all(one.source == "measured" for one in told)
    return Energy(joules=round(sum(one.joules for one in told), 3), source="measured" if measured else "estimated")
