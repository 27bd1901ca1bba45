"""Taking changes through the ledger: look at what is in flight → decide → ask persistence, which does it and signs it.

Nothing is kept here: a life that ends between any two lines looks again, and a decision that was taken already changes
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    OPTIMIZER_ACTOR,
    Change,
    ChangeState,
    DecideChange,
    Decision,
    ListChanges,
    asks_approval,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ChangeConflict, ServiceError
from libs.shared.telemetry import get_logger
from services.optimizer.pipeline.deciding import Action, next_step
from services.optimizer.pipeline.evaluating import Evaluate, Evaluating
from services.optimizer.pipeline.trying_out import TRIED_FOR, trial, tried_first
from services.optimizer.watch.guardrails import Watched, compare, watch
from services.optimizer.watch.turns import LatestTurns

LOOK_S = 2.0
"""Between two looks while turns come in."""
REST_S = 10.0
"""And while none do."""
KEEP_S = 60.0
"""Between two writings of the turns: what came since is lost with the process, and only makes a watch longer."""
PAGE = 200
MOST_PAGES = 10
"""Of changes in flight, and of those that were decided since the oldest turn that is known."""
_MOVED = frozenset({ChangeState.APPLIED, ChangeState.ROLLED_BACK})
_ENTERS = frozenset({Decision.APPLY, Decision.TRY_OUT})

log = get_logger(__name__)


class Pipeline:
    """Drives every change that something is still to happen to."""

    def __init__(
        self,
        bus: Bus,
        turns: LatestTurns,
        in_force: Callable[[], RuntimeSettings],
        evaluate: Evaluate,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus = bus
        self._turns = turns
        self._in_force = in_force
        self._evaluating = Evaluating(bus, evaluate, self._ask)
        self._clock = clock
        self._woken = asyncio.Event()
        self._seen = -1

    def wake(self) -> None:
        """Something changed: looks now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._drive())
                tasks.create_task(self._evaluating.run())
        finally:
            self._turns.keep()

    async def _drive(self) -> None:
        kept_at = monotonic()
        while True:
            self._woken.clear()
            self._seen = self._turns.heard
            try:
                await self.look()
            except ServiceError as error:
                log.info("changes_not_looked_at", code=error.code)
            if monotonic() - kept_at >= KEEP_S:
                kept_at = monotonic()
                await asyncio.to_thread(self._turns.keep)
            await self._rest()

    async def _rest(self) -> None:
        """As long as nothing happens, a while."""
        waited = 0.0
        while waited < REST_S and not self._woken.is_set() and self._turns.heard == self._seen:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                waited += LOOK_S

    async def evaluate(self) -> list[Change]:
        """What the last look found proposed and not yet evaluated: what became of it."""
        return await self._evaluating.all()

    async def look(self) -> list[Change]:
        """One look at all that is in flight: what became of those that a decision was taken on. Raises ServiceError."""
        found = await self._listed(in_flight=True)
        applied = {one.change_id for one in found if one.state is ChangeState.APPLIED}
        self._turns.only(applied | {one.change_id for one in found if one.state is ChangeState.CANARY})
        self._evaluating.tell(found)
        points = await self._turning_points(found) if applied else []
        done = [await self._step(change, found, points) for change in found]
        return [change for change in done if change is not None]

    async def _turning_points(self, in_flight: Sequence[Change]) -> list[datetime]:
        """When something came into force or went out of it, since the first turn that a watch can compare."""
        watched = [one.decided.at for one in in_flight if one.state is ChangeState.APPLIED and one.decided is not None]
        since = min((*watched, *filter(None, (self._turns.oldest,))), default=None)
        decided = await self._listed(decided_since=since, steps=True)
        return [step.at for change in decided for step in change.steps if step.state in _MOVED]

    async def _listed(self, **asked: Any) -> list[Change]:
        """Page after page, newest first."""
        found: list[Change] = []
        page = ListChanges(limit=PAGE, **asked)
        for _ in range(MOST_PAGES):
            told = await self._bus.request(LIST_CHANGES, page)
            found += told.changes
            if told.next_cursor is None:
                break
            page = page.model_copy(update={"cursor": told.next_cursor})
        return found

    async def _step(self, change: Change, beside: Sequence[Change], points: Sequence[datetime]) -> Change | None:
        if change.state is ChangeState.CANARY:
            ended = trial(change, self._clock(), compare(change, self._turns.arms(change.change_id)))
            return None if ended is None else await self._ask(change, ended)
        watched = self._watched(change, points) if change.state is ChangeState.APPLIED else None
        approval = asks_approval(self._in_force(), change.kind)
        action = next_step(change, self._clock(), asks_approval=approval, beside=beside, watched=watched)
        action = tried_first(change, action, self._turns.conversations(TRIED_FOR, self._clock()), beside)
        return None if action is None else await self._ask(change, action)

    def _watched(self, change: Change, points: Sequence[datetime]) -> Watched | None:
        if change.decided is None:
            return None
        turns = self._turns.compared(change.change_id, change.decided.at, points)
        return watch(change, turns.before, turns.after, turns.thumbs)

    async def _ask(self, change: Change, action: Action) -> Change | None:
        try:
            decided = await self._decided(change, action)
        except ChangeConflict as error:
            return await self._conflicted(change, action, error)
        log.info("change_decided", change_id=change.change_id, state=decided.state.value, reason=action.reason)
        return decided

    async def _conflicted(self, change: Change, action: Action, error: ChangeConflict) -> Change | None:
        """What can't be applied any more is refused; anything else was decided by somebody else meanwhile."""
        log.info("change_not_decided", change_id=change.change_id, decision=action.decision.value)
        if action.decision not in _ENTERS or "last_change" in error.data or "state" in error.data:
            return None
        refused = Decision.ROLL_BACK if change.state is ChangeState.CANARY else Decision.REJECT
        return await self._ask(change, Action(refused, error.detail))

    async def _decided(self, change: Change, action: Action) -> Change:
        return await self._bus.request(
            DECIDE_CHANGE,
            DecideChange(
                change_id=change.change_id,
                decision=action.decision,
                actor=OPTIMIZER_ACTOR,
                reason=action.reason[:500],
                measured=action.measured,
                share=action.share,
            ),
        )
