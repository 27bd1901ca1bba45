"""Setting a count: through the ledger, as every setting, so that it says why, is watched, and can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    OPTIMIZER_ACTOR,
    PROPOSE_CHANGE,
    Change,
    ChangeState,
    DecideChange,
    Decision,
    ListChanges,
    ProposeChange,
)

KEY = "workers"
UNDECIDED = frozenset({ChangeState.PROPOSED, ChangeState.EVALUATED})
"""Of somebody's proposal: an administrator hasn't allowed it."""
ASKED_WITHIN_S = 3600.0
"""What was asked for something so lately isn't put to rest."""


@dataclass(frozen=True)
class Judged:
    """Whether a proposed value may come into force, and why."""

    fits: bool
    reason: str


def judged(before: Mapping[str, int], after: Mapping[str, int], most: Mapping[str, int], idle_s: float) -> Judged:
    """What is wrong with ``after``, whoever proposes it. ``idle_s``: since somebody asked for something. Pure."""
    for name, count in sorted(after.items()):
        if count == before.get(name):
            continue
        if count == 0 and idle_s < ASKED_WITHIN_S:
            return Judged(False, f"nothing would answer: {idle_s / 60:.0f} minutes ago somebody asked, and no {name}")
        if name in most and count > most[name]:
            return Judged(False, f"{count} of {name}, where {most[name]} are the most")
    return Judged(True, "within the bounds")


def to_end(change: Change, wanted: Mapping[str, int]) -> tuple[Decision, str] | None:
    """What is to be done first with a change of the optimizer's own that isn't decided. None: nothing, it waits for an
    administrator. Pure."""
    if change.state is ChangeState.APPLIED:
        return Decision.KEEP, "without a loss that could be told; the load asks for another count now"
    if change.state in (ChangeState.EVALUATED, ChangeState.APPROVED) and change.after == dict(wanted):
        return None
    return Decision.REJECT, "the load asks for another count now"


class Counts:
    """The ledger's side of scaling. Raises ServiceError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def in_flight(self) -> tuple[Change, ...]:
        """Changes of the counts that something is still to happen to."""
        return (await self._bus.request(LIST_CHANGES, ListChanges(key=KEY, in_flight=True, limit=20))).changes

    async def last_moved(self) -> tuple[datetime, bool] | None:
        """When a count came into force last, or went out of it; and whether that undid one of the optimizer's own."""
        found = (await self._bus.request(LIST_CHANGES, ListChanges(key=KEY, limit=20, steps=True))).changes
        moved = [
            (step.at, step.state is ChangeState.ROLLED_BACK and change.proposed.actor == OPTIMIZER_ACTOR)
            for change in found
            for step in change.steps
            if step.state in (ChangeState.APPLIED, ChangeState.ROLLED_BACK)
        ]
        return max(moved, default=None)

    async def change(self, wanted: Mapping[str, int], reason: str) -> Change | None:
        """Proposes and applies; None where it waits for somebody, or something came between."""
        for change in await self.in_flight():
            if change.proposed.actor != OPTIMIZER_ACTOR:
                if change.state is ChangeState.APPLIED:
                    return None  # what somebody set is watched still
                continue
            ending = to_end(change, wanted)
            if ending is None:
                return None
            await self._decide(change, *ending)
        made = await self._bus.request(
            PROPOSE_CHANGE, ProposeChange(key=KEY, value=dict(wanted), reason=reason[:500], actor=OPTIMIZER_ACTOR)
        )
        return await self._decide(made, Decision.ACCEPT, reason)

    async def withdraw(self, reason: str) -> None:
        """What was proposed here and never came into force: it waits for somebody's leave, or a process ended."""
        for change in await self.in_flight():
            if change.proposed.actor == OPTIMIZER_ACTOR and change.state is not ChangeState.APPLIED:
                await self.refuse(change, reason)

    async def apply(self, change: Change, reason: str) -> Change:
        """Where no administrator has to allow it first. Raises ChangeConflict."""
        return await self._decide(change, Decision.APPLY, reason)

    async def refuse(self, change: Change, reason: str) -> Change:
        return await self._decide(change, Decision.REJECT, reason)

    async def _decide(self, change: Change, decision: Decision, reason: str) -> Change:
        asked = DecideChange(change_id=change.change_id, decision=decision, actor=OPTIMIZER_ACTOR, reason=reason[:500])
        return await self._bus.request(DECIDE_CHANGE, asked)
