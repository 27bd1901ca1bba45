"""Tuning recall weights: searched on some conversations, simplified, and judged on others that no trial ever saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.evaluation.decision import Verdict
from services.optimizer.replay.held import Held
from services.optimizer.replay.judging import judge
from services.optimizer.replay.parting import share_of
from services.optimizer.replay.scoring import replay
from services.optimizer.tuning.attempts import Attempt, best_of
from services.optimizer.tuning.simplifying import simplified
from services.optimizer.tuning.space import KEY, Point, distance, point_of, weights_of

TOWARDS_CURRENT = 0.02
"""What a point loses for being as far from the current one as can be: of two that find as much, the nearer."""
SUBSET = 0.25
"""Of the conversations, what a trial is looked at on first."""
LEAST_SUBSET = 40
"""Questions below which a part of them tells too little."""
HOPELESS = 0.03
"""A trial that is worse on the part than the best by more than this is given up."""


@dataclass(frozen=True)
class Tuned:
    """``weights`` is None where nothing is proposed; ``reason`` says why, or what changed."""

    weights: RecallWeights | None
    reason: str
    verdict: Verdict | None = None
    measured: tuple[Measured, ...] = ()
    found: RecallWeights | None = None
    """What the search came to, proposed or not."""


class Objective:
    """The value of a point on the questions that are tuned on; ``evaluations`` counts what that took, each point by the
    share of the questions that it was measured on."""

    def __init__(self, tuning: Held, settings: RuntimeSettings, done: Sequence[Attempt] = ()) -> None:
        """``done``: the trials that a search goes on from."""
        self._settings = settings
        self._current = point_of(settings.recall_weights)
        part, rest = tuning.only(_in_part), tuning.only(lambda one: not _in_part(one))
        whole = len(part) < LEAST_SUBSET or not len(rest)
        self._part: Held = tuning if whole else part
        self._rest: Held | None = None if whole else rest
        self._count = max(1, len(tuning))
        self.evaluations = 0.0
        best = best_of(done)
        self._best_on_part = self._recall(self._part, best.point) if best is not None else float("-inf")

    def __call__(self, point: Point, best: float) -> tuple[float, bool]:
        """(value, given up): on a part of the questions first, where a hopeless one shows."""
        on_part = self._recall(self._part, point)
        if self._rest is not None and on_part < self._best_on_part - HOPELESS:
            return on_part, True
        value = self._whole(point, on_part)
        if value > best:
            self._best_on_part = on_part
        return value, False

    def value(self, point: Point) -> float:
        """On all questions."""
        return self._whole(point, self._recall(self._part, point))

    def _whole(self, point: Point, on_part: float) -> float:
        recall = on_part
        if self._rest is not None:
            share = len(self._part) / self._count
            recall = share * on_part + (1 - share) * self._recall(self._rest, point)
        return recall - TOWARDS_CURRENT * distance(point, self._current)

    def _recall(self, held: Held, point: Point) -> float:
        self.evaluations += len(held) / self._count
        return recall_of(held, self._settings, point)


def _in_part(one: Evidence) -> bool:
    return share_of(one.conversation_id, "part") < SUBSET


def recall_of(held: Held, settings: RuntimeSettings, point: Point) -> float:
    """The mean over questions, 0..1."""
    if not len(held):
        return 0.0
    return float(replay(held, settings.model_copy(update={KEY: weights_of(point)})).recall.mean())


def concluded(tuning: Held, held_out: Held, settings: RuntimeSettings, tried: Sequence[Attempt]) -> Tuned:
    """What comes of a search: its best, simplified on ``tuning``, and judged on ``held_out``. ``tried`` begins with the
    weights in force."""
    best = best_of(tried)
    if best is None or best.value <= tried[0].value:
        return Tuned(None, "nothing that was tried finds more than the weights in force")
    objective = Objective(tuning, settings)
    found = simplified(point_of(settings.recall_weights), best.point, objective.value)
    return decided(held_out, settings, weights_of(found))


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
