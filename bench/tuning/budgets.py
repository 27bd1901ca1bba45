"""Budgets of a prompt, tuned from bad ones and from the product's: what is regained by the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.tuning.data import Replayable, of_files
from bench.tuning.tuned import SPLITS
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.optimizer.replay.held import held
from services.optimizer.replay.scoring import replay
from services.optimizer.tuning.budgets import Weighed, tune_budget, weighed

DELIVERED = RuntimeSettings()
ROOM_TOKENS = 1536
"""Of a model with a context of 2048: where memories have little room, their share matters."""
BAD: tuple[tuple[str, Any], ...] = (
    ("recall_k", 20),
    ("recall_k", 2),
    ("recall_min_score", 0.0),
    ("recall_min_score", 0.8),
    ("prompt_memory_share", 0.05),
    ("prompt_memory_share", 0.1),
)


@dataclass(frozen=True)
class BudgetRun:
    """One budget from one start. ``evidence`` and ``tokens`` are of prompts on held-out conversations by the truth, and
    ``worth`` what both come to; each before, after, and as delivered."""

    key: str
    start: Any
    labels: str
    held_out: tuple[int, ...]
    value: Any
    """In force then."""
    proposed: bool
    evidence: tuple[float, float, float]
    tokens: tuple[float, float, float]
    worth: tuple[float, float, float]
    reason: str


def budgets(questions: Sequence[Replayable], unanswerable: Sequence[Replayable]) -> list[BudgetRun]:
    """Every start, from the product's own, too; on either half, by either labels."""
    starts = [(key, getattr(DELIVERED, key)) for key in dict.fromkeys(key for key, _ in BAD)]
    both = [*questions, *unanswerable]
    return [
        _run(both, key, start, on, out, gold=gold)
        for gold in (True, False)
        for key, start in (*starts, *BAD)
        for on, out in SPLITS
    ]


def _run(
    questions: Sequence[Replayable], key: str, start: Any, on: Sequence[int], out: tuple[int, ...], *, gold: bool
) -> BudgetRun:
    settings = DELIVERED.model_copy(update={key: start})
    tuning, deciding = (_weighed(of_files(questions, files, gold=gold), settings, key) for files in (on, out))
    told = tune_budget(tuning, deciding, settings, key)
    value = start if told.value is None else told.value
    truth = _weighed(of_files(questions, out, gold=True), settings, key)
    three = [settings, settings.model_copy(update={key: value}), DELIVERED]
    evidence, tokens, worth = zip(*(_of(truth, one) for one in three), strict=True)
    labels = "truth" if gold else "answers"
    return BudgetRun(
        key,
        start,
        labels,
        out,
        value,
        told.value is not None,
        evidence,
        tokens,
        worth,
        told.reason,
    )


def _of(truth: Weighed, settings: RuntimeSettings) -> tuple[float, float, float]:
    resting, every = replay(truth.resting, settings), replay(truth.all, settings)
    return (
        float(resting.in_prompt.mean()),
        float(every.prompt_tokens.mean()),
        float(truth.worth(settings).mean()),
    )


def _weighed(evidence: Sequence[Evidence], settings: RuntimeSettings, key: str) -> Weighed:
    room = ROOM_TOKENS if key == "prompt_memory_share" else 0
    given = [one.model_copy(update={"room_tokens": room}) for one in evidence]
    return weighed(held(given), held(given, resting=False), settings, key)
