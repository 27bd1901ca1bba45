"""Tuning how much memory stands in a prompt: evidence against the tokens that it takes. Pure.

Each value of a short list is tried: no searcher is needed where all that there is can be looked at. Not among them are
``recall_min_score``, which keeps memories away from questions that rest on none, and those can't be told from answers
(on what can be replayed alone, lower always looks better); and ``prompt_memory_share``, which hangs on the context of
the model that will be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.evaluation.bootstrap import Comparison, compare_means, totals
from libs.shared.evaluation.decision import decide, described
from services.optimizer.replay.held import Floats, Held
from services.optimizer.replay.judging import IN_PROMPT, TOKENS, compare, measured
from services.optimizer.replay.scoring import replay

PRICE = 0.1
"""What twice the tokens must bring in evidence: a tenth of the tokens saved is worth a hundredth of the evidence."""
MOST_LOST = 0.02
"""Of the evidence in the prompt, by the lower bound: to be shown not to be lost, whatever is saved."""
NEARER = 0.002
"""On the questions that are tuned on, another value must be worth this much more than the one in force."""
CHOICES: dict[str, tuple[Any, ...]] = {"recall_k": tuple(range(2, 21))}
WORTH = "evidence_for_tokens"


@dataclass(frozen=True)
class Budgeted:
    """``value`` is None where nothing is proposed."""

    key: str
    value: Any
    reason: str
    measured: tuple[Measured, ...] = ()
    too_little: bool = False
    """So little was asked that nothing can be told from chance."""


def tune_budget(tuning: Held, held_out: Held, settings: RuntimeSettings, key: str) -> Budgeted:
    """The value of ``key`` that is worth most on ``tuning``, where ``held_out`` confirms that."""
    if not len(tuning) or not len(held_out):
        return Budgeted(key, None, "nothing that was asked can be replayed")
    before = getattr(settings, key)
    usual = max(1.0, float(replay(tuning, settings).prompt_tokens.mean()))
    worth = {value: _mean(tuning, settings, key, value, usual) for value in (before, *CHOICES[key])}
    best = max(worth, key=lambda value: (worth[value], -abs(value - before)))
    if worth[best] < worth[before] + NEARER:
        return Budgeted(key, None, f"no other {key} is worth more than {before:g}")
    return _decided(held_out, settings, key, best)


def _mean(held: Held, settings: RuntimeSettings, key: str, value: Any, usual: float) -> float:
    return float(_worth(held, settings.model_copy(update={key: value}), usual).mean())


def _worth(held: Held, settings: RuntimeSettings, usual: float) -> Floats:
    """By question: the evidence in the prompt, less what its tokens cost."""
    scores = replay(held, settings)
    return np.asarray(scores.in_prompt - PRICE * scores.prompt_tokens / usual, dtype=np.float64)


def _decided(held: Held, settings: RuntimeSettings, key: str, value: Any) -> Budgeted:
    after = settings.model_copy(update={key: value})
    usual = max(1.0, float(replay(held, settings).prompt_tokens.mean()))
    units = held.conversations
    one, other = (totals(_worth(held, which, usual), units) for which in (settings, after))
    primary = compare_means(WORTH, one, other, better="higher")
    found = compare(held, settings, after)
    told = tuple(measured(one) for one in (primary, found[IN_PROMPT], found[TOKENS]))
    verdict = decide(primary)
    if not verdict.accepted:
        return Budgeted(key, None, verdict.reason, told, too_little=verdict.why in ("too_few", "not_measured"))
    if not _kept(found[IN_PROMPT]):
        reason = f"refused: {described(found[IN_PROMPT])}, so that more than {MOST_LOST:g} of it may be lost"
        return Budgeted(key, None, reason, told)
    reason = f"{key} {getattr(settings, key):g} → {value:g}: {described(found[IN_PROMPT])}; {described(found[TOKENS])}"
    return Budgeted(key, value, reason[:500], told)


def _kept(evidence: Comparison) -> bool:
    return evidence.low >= -MOST_LOST


def confirmed(held_out: Held, settings: RuntimeSettings, key: str, value: Any) -> Budgeted:
    """What the questions that were held out say to a value, whoever proposed it."""
    return _decided(held_out, settings, key, value)
