"""Whether an adapter is worth training anew: said in the night's report, and begun only where the policy permits it.

Only what came of an adapter that people had trained before is continued: which model learns, and from whom, was their
decision. What may be learnt from, and whether the result is put to use, stays with the trainer: it reads what is
allowed at that moment, and its evaluation decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
from libs.shared.contracts.material import COUNT_MATERIAL, CountMaterial, MaterialCounted
from libs.shared.contracts.training import (
    LIST_RUNS,
    START_RUN,
    ListRuns,
    RunKind,
    StartRun,
    TrainingRun,
)
from libs.shared.errors import ServiceError
from services.optimizer.phases.base import PhaseWork

LEAST_NEW = 50
"""Answers that may be trained on since the last run."""
LEAST_SHARE = 0.25
"""Of all that may be, so many are new: less teaches little beside the rest."""
LONGEST_NAME = 55


@dataclass(frozen=True)
class Worth:
    """``run`` is None where nothing is worth it; ``reason`` says why, or why it is."""

    run: StartRun | None
    reason: str


def worth_training(last: TrainingRun | None, counted: MaterialCounted, now: datetime) -> Worth:
    """What to train, if anything: the last adapter's run again, under a name of its own. Pure."""
    if last is not None and not last.state.ended:
        return Worth(None, "a run is under way")
    if last is None or last.adapter is None:
        return Worth(None, "no adapter was trained here yet: `mongars train adapter` begins with one")
    said = f"{counted.since_then} of {counted.exchanges} answers that may be trained on came since the last run"
    if counted.since_then < LEAST_NEW or counted.since_then < LEAST_SHARE * counted.exchanges:
        return Worth(None, f"{said}: too few to train anew")
    name = f"{last.adapter.name[:LONGEST_NAME]}-{now:%Y%m%d}"
    again = last.adapter.model_copy(update={"name": name})
    run = StartRun(kind=RunKind.ADAPTER, model=last.model, text=last.text, seed=last.seed, adapter=again)
    return Worth(run, said)


async def train_where_worth_it(work: PhaseWork, now: datetime) -> str:
    """What came of it, in a sentence; it is begun only where ``night_training`` is on. Raises ServiceError."""
    await work.clear()
    runs = (await work.bus.request(LIST_RUNS, ListRuns(limit=100))).runs
    under_way = next((run for run in runs if not run.state.ended), None)
    last = under_way or next((run for run in runs if run.kind is RunKind.ADAPTER), None)
    counting = CountMaterial(since=last.created_at if last else None)
    found = worth_training(last, await work.bus.request(COUNT_MATERIAL, counting), now)
    if found.run is None:
        return found.reason
    assert found.run.adapter is not None
    settings = (await work.bus.request(READ_SETTINGS, ReadSettings())).settings
    if not settings.night_training:
        return f"{found.reason}: worth training {found.run.adapter.name}, which `night_training` does not permit"
    try:
        run = await work.bus.request(START_RUN, found.run)
    except ServiceError as error:
        return f"{found.reason}: the trainer refused {found.run.adapter.name} ({error.code})"
    return f"{found.reason}: run {run.run_id} trains {found.run.adapter.name}"
