"""The deep phase: recall weights and budgets, tuned by replaying what was really asked; caches and placement, by how
they are used.

Of recall: read → search a little → keep what was tried → look whether all of it may still be replayed → search on →
judge. A life that ends anywhere in between goes on from what was kept; what somebody withdraws is out of the search
with its next portion, and of the judgement in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import PhaseProgress
from libs.shared.telemetry import get_logger
from services.optimizer.phases.base import Job, PhaseReport, PhaseWork
from services.optimizer.replay.parting import sides
from services.optimizer.replay.reading import read_evidence, still_allowed
from services.optimizer.tuning.attempts import Attempt
from services.optimizer.tuning.exchange import TuneJob, TuneResult
from services.optimizer.tuning.machine import by_use
from services.optimizer.tuning.proposing import proposed
from services.optimizer.tuning.search_file import clear, keep, resumed, search_of
from services.optimizer.tuning.space import KEY, Point, point_of
from services.optimizer.tuning.warm import MOST_SHARED, kept_in, start_from

JOB = "tune"
BUDGETS = ("recall_k", "recall_min_score", "prompt_memory_share")
"""Those of ``tuning/budgets.py``, which needs numpy: the child's alone."""
LEAST_QUESTIONS = 30
"""On either side: with fewer, nothing could be told from chance anyway."""
PORTION = 40
"""Points between two looks at what may still be replayed."""
PORTION_S = 30.0
POINTS = 240
SEED = 7
BEGIN_AGAIN = 8
"""Best points that a search begins with again, when some of its questions were withdrawn."""
MEASURED = "measured on conversations that the search never saw"
MOST_SAID = 500
JUDGED_S = 30.0
"""Of the phase's time, what is left for the judgement."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Search:
    """Where a search stands."""

    settings: RuntimeSettings
    evidence: tuple[Evidence, ...]
    first: tuple[Point, ...]
    """What is tried after the point in force."""
    offered: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """By budget, what other nodes say that they kept."""
    done: tuple[Attempt, ...] = ()
    seed: int = SEED

    @property
    def name(self) -> str:
        """The same for the same questions, settings and seed."""
        return search_of(self.evidence, self.settings, self.seed)

    @property
    def too_few(self) -> str | None:
        """Why nothing can come of it, if so."""
        tuning, held_out = sides(self.evidence)
        if min(tuning, held_out) >= LEAST_QUESTIONS:
            return None
        return (
            f"{tuning} questions to tune on and {held_out} to judge by, and {LEAST_QUESTIONS} of either are needed:"
            " people allow it with `mongars consents tuning on`"
        )

    def without(self, left: Sequence[Evidence]) -> Search:
        """With the questions that are left: begun again, from its best points, where some are gone."""
        if len(left) == len(self.evidence):
            return self
        best = sorted((one for one in self.done[1:] if not one.pruned), key=lambda one: -one.value)
        return replace(self, evidence=tuple(left), first=tuple(one.point for one in best[:BEGIN_AGAIN]), done=())

    def job(self, most: int = 0, *, finish: bool = False) -> TuneJob:
        """Up to ``most`` points, or the judgement."""
        return TuneJob(
            evidence=self.evidence,
            settings=self.settings,
            first=self.first,
            offered=self.offered,
            done=self.done,
            most=most,
            seconds=PORTION_S,
            seed=self.seed,
            finish=finish,
        )


async def propose(work: PhaseWork) -> PhaseReport:
    """Tunes, and proposes what was held out bears out: first what takes a moment. Raises ServiceError, JobFailed."""
    reports = [await by_use(work), await tune_recall(work)]
    return PhaseReport(
        _shortened([one.done for one in reports]),
        tuple(change for one in reports for change in one.changes),
        tuple(tried for one in reports for tried in one.tried),
        {name: value for one in reports for name, value in one.figures.items()},
        left=any(one.left for one in reports),
    )


async def tune_recall(work: PhaseWork) -> PhaseReport:
    """Weights and budgets, by questions that may be replayed. Raises ServiceError, JobFailed."""
    search = await _begun(work)
    if search.too_few is None:
        search = await _searched(work, search)
    if search.too_few is not None:
        return PhaseReport(search.too_few, figures=_figures(search))
    if len(search.done) < POINTS:
        return PhaseReport(f"{len(search.done)} of {POINTS} points tried", figures=_figures(search), left=True)
    told = await _asked(work, search.job(finish=True))
    clear(work.folder)
    tried = tuple([await proposed(work, one, MEASURED) for one in told.proposals])
    changes = tuple(one.change_id for one in tried if one.change_id is not None)
    log.info("tuned", questions=len(search.evidence), points=len(search.done), proposals=len(changes))
    return PhaseReport(_shortened(told.reasons), changes, tried, _figures(search))


async def _begun(work: PhaseWork) -> Search:
    """As it was left, where the same questions may be replayed still."""
    await work.clear()
    settings = (await work.bus.request(READ_SETTINGS, ReadSettings())).settings
    evidence = await read_evidence(work.bus, work.clear)
    first = start_from(kept_in(work.others, KEY), point_of(settings.recall_weights))
    offered = {key: tuple(one.value for one in kept_in(work.others, key)[:MOST_SHARED]) for key in BUDGETS}
    search = Search(settings, tuple(evidence), first, offered)
    return replace(search, done=resumed(work.folder, search.name))


async def _searched(work: PhaseWork, search: Search) -> Search:
    while len(search.done) < POINTS and work.seconds_left > PORTION_S + JUDGED_S:
        most = min(POINTS, len(search.done) + PORTION)
        told = await _asked(work, search.job(most))
        if len(told.done) <= len(search.done):
            break
        search = replace(search, done=told.done)
        keep(work.folder, search.name, search.done)
        work.tell(PhaseProgress(doing="tuning recall", step=len(search.done), steps=POINTS))
        await work.clear()
        search = search.without(await still_allowed(work.bus, search.evidence))
        if search.too_few is not None:
            clear(work.folder)
            break
    return search


async def _asked(work: PhaseWork, job: TuneJob) -> TuneResult:
    return TuneResult.model_validate_json(await work.compute(Job(JOB, job.model_dump_json().encode())))


def _shortened(reasons: Sequence[str]) -> str:
    """What came of each setting, within what a report may say; the ledger has the whole."""
    most = MOST_SAID // max(1, len(reasons)) - 2
    return "; ".join(one if len(one) <= most else one[: most - 1] + "…" for one in reasons)


def _figures(search: Search) -> dict[str, float]:
    resting = sum(bool(one.relevant) for one in search.evidence)
    return {"questions": float(resting), "asked": float(len(search.evidence)), "points": float(len(search.done))}
