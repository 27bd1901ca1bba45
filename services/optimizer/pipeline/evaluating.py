"""Evaluating what is proposed, whoever proposed it, beside the looks at the ledger: the watch waits for no replay."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import ValidationError

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import LIST_CHANGES, READ_SETTINGS, Change, ListChanges, ReadSettings
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import InvalidRequest, ServiceError
from libs.shared.telemetry import get_logger
from services.optimizer.outside import Outside
from services.optimizer.phases.base import Job, JobFailed
from services.optimizer.pipeline.bounds import hollow
from services.optimizer.pipeline.deciding import Action, awaits_evaluation, judged
from services.optimizer.replay.exchange import REPLAYABLE, Evaluated, EvaluateJob
from services.optimizer.replay.reading import read_evidence

JOB = "evaluate"
JOB_S = 120.0
MOST_ATTEMPTS = 3
"""At one proposal, where its child process fails."""

Evaluate = Callable[[Change], Awaitable[Evaluated]]
"""Raises ServiceError where it can't be told now, JobFailed and TimeoutError where its process failed."""
Ask = Callable[[Change, Action], Awaitable[Change | None]]

log = get_logger(__name__)


class ReplayEvaluation:
    """Reads what may be replayed when it is asked, and keeps none of it."""

    def __init__(self, bus: Bus, outside: Outside) -> None:
        self._bus = bus
        self._outside = outside

    async def __call__(self, change: Change) -> Evaluated:
        """What the bound of its setting says stands whatever a replay says, which is measured all the same."""
        reason = hollow(change.key, change.after)
        if reason is None:
            return await self._replayed(change)
        try:
            measured = (await self._replayed(change)).measured
        except (ServiceError, JobFailed, TimeoutError) as error:
            log.info("refused_unmeasured", change_id=change.change_id, reason=type(error).__name__)
            measured = ()
        return Evaluated(accepted=False, reason=f"refused: {reason}", measured=measured)

    async def _replayed(self, change: Change) -> Evaluated:
        if change.key not in REPLAYABLE:
            return Evaluated(accepted=None, reason=f"no replay tells of {change.key}")
        async with self._outside.making_way():
            await self._outside.clear()
            settings = (await self._bus.request(READ_SETTINGS, ReadSettings())).settings
            evidence = await read_evidence(self._bus, self._outside.clear)
            if not evidence:
                return Evaluated(accepted=None, reason="nothing that was asked may be replayed")
            job = EvaluateJob(
                key=change.key,
                before=changed(settings, change.key, change.before),
                after=changed(settings, change.key, change.after),
                evidence=tuple(evidence),
            )
            told = await self._outside.compute(Job(JOB, job.model_dump_json().encode(), timeout_s=JOB_S))
        return Evaluated.model_validate_json(told)


def changed(settings: RuntimeSettings, key: str, value: Any) -> RuntimeSettings:
    """With that value. Raises InvalidRequest where the setting doesn't take it. Pure."""
    if key not in RuntimeSettings.model_fields:
        raise InvalidRequest("there is no such setting", errors=["key"])
    try:
        return RuntimeSettings.model_validate({**settings.model_dump(), key: value})
    except ValidationError as error:
        raise InvalidRequest(
            "the setting doesn't take this value", errors=[str(e["loc"]) for e in error.errors()]
        ) from None


class Evaluating:
    """One proposal after another. What it is told of and hasn't begun is kept nowhere: the next look tells it again."""

    def __init__(self, bus: Bus, evaluate: Evaluate, ask: Ask) -> None:
        self._bus = bus
        self._evaluate = evaluate
        self._ask = ask
        self._waiting: list[Change] = []
        self._failed: Counter[str] = Counter()
        self._told = asyncio.Event()

    def tell(self, in_flight: Sequence[Change]) -> None:
        """What is in flight now."""
        self._waiting = [change for change in in_flight if awaits_evaluation(change)]
        there = {change.change_id for change in self._waiting}
        self._failed = Counter({one: count for one, count in self._failed.items() if one in there})
        if self._waiting:
            self._told.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._told.wait()
            self._told.clear()
            await self.all()

    async def all(self) -> list[Change]:
        """What became of each that waits."""
        done: list[Change | None] = []
        while self._waiting:
            change = self._waiting.pop(0)
            try:
                done.append(await self._one(change))
            except ServiceError as error:
                log.info("change_not_evaluated", change_id=change.change_id, code=error.code)
        return [change for change in done if change is not None]

    async def _one(self, change: Change) -> Change | None:
        """None where it is to be tried again, or somebody decided meanwhile. Raises ServiceError."""
        asked = ListChanges(limit=1, change_id=change.change_id)
        found = (await self._bus.request(LIST_CHANGES, asked)).changes
        if not found or not awaits_evaluation(found[0]):
            return None
        try:
            told = await self._evaluate(change)
        except (JobFailed, TimeoutError) as error:
            self._failed[change.change_id] += 1
            log.warning("evaluation_failed", change_id=change.change_id, reason=str(error)[:200])
            if self._failed[change.change_id] < MOST_ATTEMPTS:
                return None
            told = Evaluated(accepted=None, reason="its evaluation failed again and again")
        return await self._ask(change, judged(change, told))
