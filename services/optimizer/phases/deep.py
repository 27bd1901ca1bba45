"""The deep phase: recall weights and budgets, tuned by replaying what was really asked.

Read → search a little → keep the trials → look whether all of it may still be replayed → search on → judge. A life that
ends anywhere in between goes on from the trials that were kept; what somebody withdraws is out of the search with its
next portion, and of the judgement in any case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import (
    READ_SETTINGS,
    Measured,
    ProposeChange,
    ReadSettings,
    RuntimeSettings,
)
from libs.shared.contracts.replay import Evidence
from libs.shared.telemetry import get_logger
from services.optimizer.replay.held import parted
from services.optimizer.replay.reading import read_evidence, still_allowed
from services.optimizer.tuning.jobs import Proposal, TuneJob, TuneResult
from services.optimizer.tuning.search_file import clear, keep, resumed, search_of
from services.optimizer.tuning.space import Point, point_of
from services.optimizer.tuning.trials import Tried
from services.optimizer.tuning.warm import Kept, start_from

JOB = "tune"
LEAST_QUESTIONS = 30
"""On either side: with fewer, nothing could be told from chance anyway."""
PORTION = 40
"""Trials between two looks at what may still be replayed."""
PORTION_S = 30.0
TRIALS = 240
SEED = 7
BEGIN_AGAIN = 8
"""Best points that a search begins with again, when some of its questions were withdrawn."""

Compute = Callable[[str, bytes], Awaitable[bytes]]
"""Runs a job of that name where idle work may run; it yields by itself."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Deep:
    """``proposals`` with what each was measured by; ``reasons`` say of every setting what came of it."""

    proposals: tuple[tuple[ProposeChange, tuple[Measured, ...]], ...] = ()
    reasons: tuple[str, ...] = ()
    questions: int = 0
    trials: int = 0


@dataclass
class Tuning:
    """One night's tuning. ``shared``: what other nodes say that they kept."""

    bus: Bus
    folder: Path
    compute: Compute
    shared: Sequence[Kept] = ()
    trials: int = TRIALS
    seed: int = SEED
    _settings: RuntimeSettings = field(default_factory=RuntimeSettings)

    async def run(self) -> Deep:
        """Raises ServiceError."""
        self._settings = (await self.bus.request(READ_SETTINGS, ReadSettings())).settings
        evidence = await read_evidence(self.bus)
        if (few := _too_few(evidence)) is not None:
            clear(self.folder)
            return Deep(reasons=(few,), questions=len(evidence))
        tried, evidence = await self._search(evidence)
        if (few := _too_few(evidence)) is not None:
            return Deep(reasons=(few,), questions=len(evidence))
        told = await self._asked(self._job(evidence, (), tried, finish=True))
        clear(self.folder)
        log.info("tuned", questions=len(evidence), trials=len(tried), proposals=len(told.proposals))
        proposals = tuple((_change(one), one.measured) for one in told.proposals)
        return Deep(proposals, told.reasons, len(evidence), len(tried))

    async def _search(self, evidence: list[Evidence]) -> tuple[tuple[Tried, ...], list[Evidence]]:
        """All trials, and the questions that were left at the end of it."""
        of = search_of(evidence, self._settings, self.seed)
        first = start_from(self.shared, point_of(self._settings.recall_weights))
        tried = resumed(self.folder, of)
        while len(tried) < self.trials:
            evidence, first, tried, of = await self._current(evidence, first, tried, of)
            if _too_few(evidence) is not None:
                break
            before = len(tried)
            tried = (await self._asked(self._job(evidence, first, tried))).tried
            keep(self.folder, of, tried)
            if len(tried) == before:
                break
        evidence, *_ = await self._current(evidence, first, tried, of)
        return tried, evidence

    async def _current(
        self, evidence: list[Evidence], first: tuple[Point, ...], tried: tuple[Tried, ...], of: str
    ) -> tuple[list[Evidence], tuple[Point, ...], tuple[Tried, ...], str]:
        """Without what was withdrawn: the search begins again then, from its best points, measured anew."""
        left = await still_allowed(self.bus, evidence)
        if len(left) == len(evidence):
            return evidence, first, tried, of
        best = sorted((one for one in tried[1:] if not one.pruned), key=lambda one: -one.value)
        again = tuple(one.point for one in best[:BEGIN_AGAIN])
        return left, again, (), search_of(left, self._settings, self.seed)

    def _job(
        self, evidence: Sequence[Evidence], first: tuple[Point, ...], tried: tuple[Tried, ...], *, finish: bool = False
    ) -> TuneJob:
        return TuneJob(
            evidence=tuple(evidence),
            settings=self._settings,
            first=first,
            done=tried,
            most=min(self.trials, len(tried) + PORTION),
            seconds=PORTION_S,
            seed=self.seed,
            finish=finish,
        )

    async def _asked(self, job: TuneJob) -> TuneResult:
        return TuneResult.model_validate_json(await self.compute(JOB, job.model_dump_json().encode()))


def _too_few(evidence: Sequence[Evidence]) -> str | None:
    counts = [len(part) for part in parted(evidence)]
    if min(counts) >= LEAST_QUESTIONS:
        return None
    return (
        f"{counts[0]} questions to tune on and {counts[1]} to judge by, and {LEAST_QUESTIONS} of either are needed;"
        " people allow it with `mongars consents tuning on`"
    )


def _change(one: Proposal) -> ProposeChange:
    return ProposeChange(key=one.key, value=one.value, reason=one.reason, actor=Principal.OPTIMIZER)
