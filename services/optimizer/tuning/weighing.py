"""Tuning recall weights: searched on some conversations, simplified, and judged on others that no trial ever saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from libs.shared.contracts.ledger import Measured, RecallWeights, RuntimeSettings
from libs.shared.evaluation.decision import Verdict
from services.optimizer.replay.held import Held, share_of
from services.optimizer.replay.judging import judge
from services.optimizer.replay.scoring import replay
from services.optimizer.tuning.searching import Tried, best_of, search
from services.optimizer.tuning.simplifying import simplified
from services.optimizer.tuning.space import Point, distance, point_of, weights_of

TOWARDS_CURRENT = 0.02
"""What a point loses for being as far from the current one as can be: of two that find as much, the nearer."""
SUBSET = 0.25
"""Of the conversations, what a trial is looked at on first."""
LEAST_SUBSET = 40
"""Questions below which a part of them tells too little."""
HOPELESS = 0.03
"""A trial that is worse on the part than the best by more than this is given up."""
KEY = "recall_weights"


@dataclass(frozen=True)
class Budget:
    """What a search may take."""

    trials: int = 300
    seconds: float = 240.0
    seed: int = 7


@dataclass(frozen=True)
class Tuned:
    """``weights`` is None where nothing is proposed; ``reason`` says why, or what changed."""

    weights: RecallWeights | None
    reason: str
    verdict: Verdict | None = None
    measured: tuple[Measured, ...] = ()
    tried: tuple[Tried, ...] = ()
    found: RecallWeights | None = None
    """What the search came to, proposed or not."""
    evaluations: float = 0.0
    """Trials, each by the share of the questions that it was measured on."""


class Objective:
    """The value of a point on the questions that are tuned on; ``evaluations`` counts what that took."""

    def __init__(self, tuning: Held, settings: RuntimeSettings) -> None:
        self._all = tuning
        self._settings = settings
        self._current = point_of(settings.recall_weights)
        part = tuning.only(lambda one: share_of(one.conversation_id, "subset") < SUBSET)
        self._part = part if LEAST_SUBSET <= len(part) < len(tuning) else None
        self._best_on_part = float("-inf")
        self.evaluations = 0.0

    def __call__(self, point: Point, best: float) -> tuple[float, bool]:
        """(value, given up): on a part of the questions first, where a hopeless one shows."""
        if self._part is not None:
            value = self._value(self._part, point)
            if best > float("-inf") and value < self._best_on_part - HOPELESS:
                return value, True
            whole = self.value(point)
            if whole > best:
                self._best_on_part = value
            return whole, False
        return self.value(point), False

    def value(self, point: Point) -> float:
        """On all questions."""
        return self._value(self._all, point)

    def _value(self, held: Held, point: Point) -> float:
        self.evaluations += len(held) / max(1, len(self._all))
        return recall_of(held, self._settings, point) - TOWARDS_CURRENT * distance(point, self._current)


def recall_of(held: Held, settings: RuntimeSettings, point: Point) -> float:
    """The mean over questions, 0..1."""
    if not len(held):
        return 0.0
    return float(replay(held, settings.model_copy(update={KEY: weights_of(point)})).recall.mean())


def tune(
    tuning: Held,
    held_out: Held,
    settings: RuntimeSettings,
    *,
    first: Sequence[Point] = (),
    budget: Budget | None = None,
    done: Sequence[Tried] = (),
    told: Callable[[Tried], None] = lambda _: None,
) -> Tuned:
    """Searches on ``tuning``, lets ``held_out`` decide. The current weights are the first trial, ``first`` the next."""
    budget = budget or Budget()
    objective = Objective(tuning, settings)
    current = point_of(settings.recall_weights)
    tried = search(
        objective,
        (current, *first),
        most=budget.trials,
        seconds=budget.seconds,
        seed=budget.seed,
        done=done,
        told=told,
    )
    best = best_of(tried)
    if best is None or best.value <= tried[0].value:
        none = Tuned(None, "nothing that was tried finds more than the weights in force", tried=tuple(tried))
        return replace(none, evaluations=objective.evaluations)
    found = weights_of(simplified(current, best.point, objective.value))
    outcome = decided(held_out, settings, found)
    return replace(outcome, tried=tuple(tried), evaluations=objective.evaluations)


def decided(held_out: Held, settings: RuntimeSettings, found: RecallWeights) -> Tuned:
    """What the questions that were held out say to weights that a search came to."""
    judgement = judge(held_out, settings, settings.model_copy(update={KEY: found}))
    verdict = judgement.verdict
    if not verdict.accepted:
        return Tuned(None, verdict.reason, verdict, judgement.measured, found=found)
    reason = f"{changes(settings.recall_weights, found)}; {verdict.reason}"[:500]
    return Tuned(found, reason, verdict, judgement.measured, found=found)


def changes(before: RecallWeights, after: RecallWeights) -> str:
    """Which weights moved, and whither."""
    moved = [f"{name} {value:g} → {getattr(after, name):g}" for name, value in before if value != getattr(after, name)]
    return f"{len(moved)} of {len(RecallWeights.model_fields)} weights: {', '.join(moved)}"
