"""One coroutine a subject: a cycle is asked for, and how it stands is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from libs.shared.contracts.sleep import Cycle, CycleState, ReadSleep, Scaled, SleepNow, SleepStatus
from services.optimizer.energy import answer_energy
from services.optimizer.night import Night, Parts
from services.optimizer.phases import registry


@dataclass(frozen=True)
class Handlers:
    """What every handler works with."""

    parts: Parts
    night: Night
    scaled: Callable[[], tuple[Scaled, ...]] = tuple
    """How many workers there are, where their number is seen to."""

    async def sleep_now(self, request: SleepNow) -> Cycle:
        """SLEEP_NOW."""
        return await self.night.now(request.phases)

    async def sleep_status(self, request: ReadSleep) -> SleepStatus:
        """SLEEP_STATUS."""
        parts, decision = self.parts, self.night.decision
        ended = [cycle for cycle in parts.record.cycles if cycle.state is not CycleState.RUNNING]
        return SleepStatus(
            enabled=parts.settings.sleep,
            phases=registry.available(),
            idle=decision.idle,
            reasons=decision.reasons,
            held_by=parts.gate.held_by,
            expected_quiet_s=decision.expected_quiet_s,
            next_look_s=decision.next_look_s,
            running=self.night.running,
            cycles=tuple(ended[: request.cycles]),
            answers=answer_energy(parts.record.before, parts.record.since, parts.sensing.accounts()),
            others=len(parts.others),
            scaling=self.scaled(),
        )
