"""When the installation sleeps: looks whether it is idle, begins a cycle, holds it, and ends it when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from uuid import uuid4

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import Preempt
from libs.shared.contracts.sleep import SLEEP, Cycle, CycleState, Phase, PhaseOutcome
from libs.shared.errors import NothingToDo, ServiceError, SleepUnderWay, Unavailable
from libs.shared.telemetry import get_logger
from services.optimizer.cycle import Machine, Sleeping
from services.optimizer.gate import Gate
from services.optimizer.idleness.deciding import Decision, State, decide
from services.optimizer.lease import one_cycle
from services.optimizer.outside import Outside
from services.optimizer.phases import registry
from services.optimizer.record import Record
from services.optimizer.sensing import Sensing
from services.optimizer.settings import OptimizerSettings
from services.optimizer.sharing import Others
from services.optimizer.telling import Telling

SAVE_S = 600.0
AGAIN_S = 600.0
"""Until what was left over is taken up, and until another node is asked again whether it sleeps."""
_IDLENESS = "idleness"
_YIELDING = "yielding"
_NEVER = 1 << 62
"""Of requests: a cycle that was asked for makes way for each, and isn't ended by many."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What it works with."""

    bus: Bus
    settings: OptimizerSettings
    gate: Gate
    sensing: Sensing
    record: Record
    others: Others
    telling: Telling
    yielding: Yielding
    outside: Outside
    machine: Machine
    owner: str
    """This node, among those that might sleep."""


class Night:
    """``run`` goes on until it is cancelled."""

    def __init__(self, parts: Parts, clock: Callable[[], float] = monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._state = State()
        self._decision = Decision(False, ("starting",), 0.0, None, State())
        self._woken = asyncio.Event()
        self._refused_at = float("-inf")
        self._running: Sleeping | None = None
        self._task: asyncio.Task[None] | None = None
        self._saved_at = clock()
        self._answers, self._answers_j = 0, 0.0

    @property
    def decision(self) -> Decision:
        return self._decision

    @property
    def running(self) -> Cycle | None:
        return self._running.cycle if self._running is not None else None

    # ------------------------------------------------------------------ what happens

    def requested(self, told: Preempt) -> None:
        """Somebody waits for an answer; what runs was stopped already."""
        self._parts.sensing.request(told)
        self._woken.set()

    async def now(self, wanted: tuple[Phase, ...]) -> Cycle:
        """SLEEP_NOW. Raises NothingToDo, SleepUnderWay, Unavailable."""
        there = registry.available()
        phases = tuple(phase for phase in there if phase in (wanted or there))
        if not phases:
            raise NothingToDo("this installation has none of the phases that were asked for")
        if self._running is not None:
            raise SleepUnderWay(f"cycle {self._running.cycle.cycle_id} is under way")
        self._state = State(asleep=True)
        return await self._begin(phases, asked_for=True)

    async def run(self) -> None:
        """Looks, decides and acts, until it is cancelled."""
        try:
            while True:
                self._look()
                await self._act()
                self._woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.2, self._decision.next_look_s)):
                        await self._woken.wait()
        finally:
            await self._end(CycleState.INTERRUPTED, "the optimizer was stopped")
            self._save()

    # ------------------------------------------------------------------ deciding

    def _look(self) -> None:
        parts, asked = self._parts, self._running is not None and self._running.cycle.asked_for
        limits = parts.settings.limits
        if asked:  # whoever asks for it means now, and other programs come first by priority alone
            limits = replace(limits, only=None, never=None, cpu_leave=float("inf"), leave_requests=_NEVER)
            self._state = replace(self._state, asleep=True, troubled_since=None)
        before = self._decision.reasons
        self._decision = decide(
            self._clock(), datetime.now(), parts.sensing.readings(), parts.sensing.forecast(), self._state, limits
        )
        self._state = self._decision.state
        if self._decision.reasons != before:
            log.debug("idleness", idle=self._decision.idle, reasons=list(self._decision.reasons))

    async def _act(self) -> None:
        self._count_answers()
        if self._task is not None and self._task.done():
            ended, self._task = self._task, None
            ended.result()
        if self._clock() - self._saved_at >= SAVE_S:
            self._save()
        if self._running is not None:
            await self._hold_or_end(self._running.cycle.asked_for)
        elif self._decision.idle and self._due():
            try:
                await self._begin(registry.available(), asked_for=False)
            except ServiceError as error:  # another node sleeps, or nobody can say
                self._refused_at = self._clock()
                log.debug("sleep_not_begun", code=error.code)

    async def _hold_or_end(self, asked_for: bool) -> None:
        if self._decision.idle:
            self._parts.gate.release(_IDLENESS)
            return
        self._parts.gate.hold(_IDLENESS, self._decision.reasons)
        if not self._state.asleep and not asked_for:
            await self._end(CycleState.WOKEN, ", ".join(self._decision.reasons))

    def _due(self) -> bool:
        settings, record = self._parts.settings, self._parts.record
        if not settings.sleep or not registry.available() or self._clock() - self._refused_at < AGAIN_S:
            return False
        ended_at = record.cycles[0].ended_at if record.cycles else None
        if ended_at is None:
            return True
        every_s = min(AGAIN_S, settings.sleep_every_s) if record.last_phases else settings.sleep_every_s
        return (datetime.now(UTC) - ended_at).total_seconds() >= every_s

    # ------------------------------------------------------------------ a cycle

    async def _begin(self, phases: tuple[Phase, ...], *, asked_for: bool) -> Cycle:
        """Returns once it is certain that no other node sleeps."""
        cycle = Cycle(
            cycle_id=uuid4().hex,
            state=CycleState.RUNNING,
            asked_for=asked_for,
            begun_at=datetime.now(UTC),
            phases=tuple(PhaseOutcome(phase=phase) for phase in phases),
        )
        parts = self._parts
        self._running = Sleeping(
            bus=parts.bus,
            folder=parts.settings.folder,
            gate=parts.gate,
            machine=parts.machine,
            phase_limit_s=parts.settings.sleep_phase_limit_s,
            others=parts.others.tried,
            keep=parts.record.keep,
            cycle=cycle,
        )
        self._woken.set()
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._sleep(self._running, begun))
        await begun
        log.info("sleep_begun", cycle_id=cycle.cycle_id, asked_for=asked_for)
        return cycle

    async def _sleep(self, sleeping: Sleeping, begun: asyncio.Future[None]) -> None:
        parts = self._parts
        try:
            async with one_cycle(parts.bus.bucket(SLEEP), parts.owner):
                begun.set_result(None)
                holding = asyncio.create_task(self._make_way())
                try:
                    await sleeping.run()
                finally:
                    holding.cancel()
                    await asyncio.gather(holding, return_exceptions=True)
                    for holder in (_YIELDING, _IDLENESS):
                        parts.gate.release(holder)
        except ServiceError as error:
            if not begun.done():
                begun.set_exception(error)
            else:
                log.warning("sleep_failed", code=error.code)
        finally:
            self._over(sleeping, begun)
        if begun.exception() is None:
            await sleeping.tell()
            await parts.telling.cycle(sleeping.cycle, tuple(sleeping.tried))

    def _over(self, sleeping: Sleeping, begun: asyncio.Future[None]) -> None:
        self._running = None
        self._woken.set()
        if not begun.done():
            begun.set_exception(Unavailable("this service is stopping"))
        if begun.exception() is not None:
            return
        sleeping.end()
        if any(one.changes for one in sleeping.cycle.phases):
            self._parts.record.begin_anew()

    async def _make_way(self) -> None:
        gate = self._parts.gate
        await self._parts.yielding.hold(
            lambda: gate.hold(_YIELDING),
            lambda: gate.release(_YIELDING),
            lambda reasons: gate.hold(_YIELDING, reasons) if reasons else None,
        )

    async def _end(self, state: CycleState, reason: str) -> None:
        if self._running is None or self._task is None:
            return
        sleeping, task, self._task = self._running, self._task, None
        sleeping.closing = (state, reason)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(ServiceError):
            await sleeping.tell()

    # ------------------------------------------------------------------ what is kept

    def _count_answers(self) -> None:
        sensing = self._parts.sensing
        joules = sum(account.answers_j for account in sensing.accounts())
        # a node that was forgotten takes its sum with it
        self._parts.record.answered(max(0.0, joules - self._answers_j), sensing.answers - self._answers)
        self._answers, self._answers_j = sensing.answers, joules

    def _save(self) -> None:
        self._saved_at = self._clock()
        self._parts.sensing.save()
        self._parts.record.save()
