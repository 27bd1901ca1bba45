"""Tuning on some conversations, and what it gained on others by the truth, which the search never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.tuning.data import Replayable, of_files
from bench.tuning.starts import STARTS, with_weights
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from services.optimizer.replay.held import Held, held
from services.optimizer.replay.judging import judge
from services.optimizer.replay.scoring import replay
from services.optimizer.tuning.searching import search
from services.optimizer.tuning.space import point_of
from services.optimizer.tuning.weighing import Objective, Tuned, concluded

FOREVER_S = 3600.0
SPLITS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (((0, 2, 4), (1, 3)), ((1, 3), (0, 2, 4)))
"""(tuned on, held out), by the files' places."""


@dataclass(frozen=True)
class Run:
    """One search; ``before`` and ``after`` are recall on the held-out conversations by the truth."""

    start: str
    labels: str
    held_out: tuple[int, ...]
    proposed: bool
    before: float
    found: float
    """Of what the search came to, proposed or not."""
    after: float
    """Of what would be in force then."""
    moved: int
    reason: str
    worse: bool
    """What is proposed is worse than what was in force by the truth, beyond noise."""


def tuned(questions: Sequence[Replayable], points: int, seed: int) -> list[Run]:
    """Every start, on either half, by either labels: those labels decide, and the truth measures."""
    return [
        _run(questions, start, weights, gold, on, out, points, seed)
        for gold in (True, False)
        for start, weights in STARTS.items()
        for on, out in SPLITS
    ]


def _run(
    questions: Sequence[Replayable],
    start: str,
    weights: RecallWeights,
    gold: bool,
    on: Sequence[int],
    out: tuple[int, ...],
    points: int,
    seed: int,
) -> Run:
    settings = with_weights(weights)
    tuning, deciding, truth = (
        held(of_files(questions, on, gold=gold)),
        held(of_files(questions, out, gold=gold)),
        held(of_files(questions, out, gold=True)),
    )
    outcome = searched(tuning, deciding, settings, points, seed)
    after = outcome.weights or weights
    found = outcome.found or weights
    return Run(
        start=start,
        labels="truth" if gold else "answers",
        held_out=out,
        proposed=outcome.weights is not None,
        before=recall(truth, weights),
        found=recall(truth, found),
        after=recall(truth, after),
        moved=sum(value != getattr(found, name) for name, value in weights),
        reason=outcome.reason,
        worse=judge(truth, settings, with_weights(after)).verdict.why == "worse",
    )


def searched(tuning: Held, deciding: Held, settings: RuntimeSettings, points: int, seed: int) -> Tuned:
    """As the deep phase does it, without its portions."""
    first = (point_of(settings.recall_weights),)
    done = search(Objective(tuning, settings), first, most=points, seconds=FOREVER_S, seed=seed)
    return concluded(tuning, deciding, settings, done)


def recall(asked: Held, weights: RecallWeights) -> float:
    """The mean of evidence@10 and reciprocal rank."""
    return float(replay(asked, with_weights(weights)).recall.mean())
