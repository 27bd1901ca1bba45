"""Tuning how much memory stands in a prompt: evidence against the tokens that it takes. Pure.

Each value of a short list is tried, what other nodes kept among them: no searcher is needed where all that there is can
be looked at. ``recall_min_score`` keeps memories away from questions that rest on none; those can't be told from
answers one by one, and so the questions of which nothing is told count as well, by what stands in their prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.evaluation.bootstrap import Comparison, compare_means, totals
from libs.shared.evaluation.decision import decide, described
from services.optimizer.replay.held import Floats, Held, parted
from services.optimizer.replay.judging import IN_PROMPT, TOKENS, compare, measured
from services.optimizer.replay.scoring import replay

PRICE = 0.12
"""What the usual tokens must bring in evidence: a tenth of them saved is worth 0.012 of the evidence."""
NEEDLESS = 0.4
"""And in the prompt of a question of which nothing is told to rest on a memory. The least evidence was chosen by hand,
on questions whose truth is known: at this price its neighbours are worth as much as it (docs/benchmarks.md)."""
MOST_LOST = 0.02
"""Of the evidence in the prompt, by the lower bound: to be shown not to be lost, whatever is saved."""
SEEN_LOST = 0.01
"""Of the evidence on the questions that are tuned on: what loses more there is not worth asking the others about."""
NEARER = 0.002
"""On the questions that are tuned on, another value must be worth this much more than the one in force."""
CHOICES: dict[str, tuple[Any, ...]] = {
    "recall_k": tuple(range(2, 21)),
    "recall_min_score": tuple(round(0.05 * step, 2) for step in range(19)),
    "prompt_memory_share": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
}
"""More than half of the context is the conversation's own, which no replay knows."""
OF_ALL = frozenset({"recall_min_score"})
"""What is weighed over all questions, and not only over those that rest on something."""
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


@dataclass(frozen=True)
class Weighed:
    """One side's questions: those that rest on something, and those whose prompts are weighed."""

    resting: Held
    all: Held
    usual: float
    """Tokens that as many memories as are delivered take, so that a token's price doesn't hang on where one begins."""

    def worth(self, settings: RuntimeSettings) -> Floats:
        """By question of ``all``: the evidence in its prompt, less what the tokens there cost."""
        scores = replay(self.all, settings)
        rests = np.array([bool(one.relevant) for one in self.all.evidence])
        price = np.where(rests, PRICE, NEEDLESS)
        return np.asarray(scores.in_prompt - price * scores.prompt_tokens / self.usual, dtype=np.float64)


def weighed(resting: Held, everything: Held, settings: RuntimeSettings, key: str) -> Weighed:
    """``everything``: with the questions of which nothing is told."""
    delivered = {name: RuntimeSettings.model_fields[name].default for name in CHOICES} | {"recall_min_score": 0.0}
    usual = float(replay(resting, settings.model_copy(update=delivered)).prompt_tokens.mean()) if len(resting) else 0.0
    return Weighed(resting, everything if key in OF_ALL else resting, max(1.0, usual))


def tune_budgets(
    evidence: Sequence[Evidence], settings: RuntimeSettings, offered: dict[str, tuple[Any, ...]] | None = None
) -> list[Budgeted]:
    """Of every budget what comes of it. Each is measured with the others as they are, so that one changes at a time."""
    resting, everything = parted(evidence), parted(evidence, resting=False)
    told: list[Budgeted] = []
    for key in CHOICES:
        if told and told[-1].value is not None:
            told += [Budgeted(other, None, "another night") for other in CHOICES if other not in {t.key for t in told}]
            break
        tuning, held_out = (weighed(*side, settings, key) for side in zip(resting, everything, strict=True))
        told.append(tune_budget(tuning, held_out, settings, key, (offered or {}).get(key, ())))
    return told


def tune_budget(
    tuning: Weighed, held_out: Weighed, settings: RuntimeSettings, key: str, offered: Iterable[Any] = ()
) -> Budgeted:
    """The value of ``key`` that is worth most on ``tuning``, where ``held_out`` confirms that."""
    if not len(tuning.resting) or not len(held_out.resting):
        return Budgeted(key, None, "nothing that was asked can be replayed")
    before = getattr(settings, key)
    values = dict.fromkeys((before, *CHOICES[key], *_admitted(key, offered)))
    found = {value: _found(tuning, _with(settings, key, value)) for value in values}
    worth = {value: worth for value, (worth, evidence) in found.items() if evidence >= found[before][1] - SEEN_LOST}
    best = max(worth, key=lambda value: (worth[value], -abs(value - before)))
    if worth[best] < worth[before] + NEARER:
        return Budgeted(key, None, f"no other {key} is worth more than {before:g}")
    return _decided(held_out, settings, key, best)


def _found(tuning: Weighed, settings: RuntimeSettings) -> tuple[float, float]:
    """(what it is worth, the evidence in the prompt)."""
    return float(tuning.worth(settings).mean()), float(replay(tuning.resting, settings).in_prompt.mean())


def _with(settings: RuntimeSettings, key: str, value: Any) -> RuntimeSettings:
    return settings.model_copy(update={key: value})


def _admitted(key: str, offered: Iterable[Any]) -> list[Any]:
    """Of what other nodes say that they kept, what lies where this search looks; measured like any other."""
    low, high = min(CHOICES[key]), max(CHOICES[key])
    found = []
    for value in offered:
        try:
            one = getattr(RuntimeSettings.model_validate({key: value}), key)
        except ValidationError:
            continue
        if low <= one <= high:
            found.append(one)
    return found


def _decided(held: Weighed, settings: RuntimeSettings, key: str, value: Any) -> Budgeted:
    after = _with(settings, key, value)
    units = held.all.conversations
    one, other = (totals(held.worth(which), units) for which in (settings, after))
    primary = compare_means(WORTH, one, other, better="higher")
    found = compare(held.resting, settings, after)
    tokens = compare(held.all, settings, after)[TOKENS]
    told = tuple(measured(one) for one in (primary, found[IN_PROMPT], tokens))
    verdict = decide(primary)
    if not verdict.accepted:
        return Budgeted(key, None, verdict.reason, told, too_little=verdict.why in ("too_few", "not_measured"))
    if not _kept(found[IN_PROMPT]):
        reason = f"refused: {described(found[IN_PROMPT])}, so that more than {MOST_LOST:g} of it may be lost"
        return Budgeted(key, None, reason, told)
    reason = f"{key} {getattr(settings, key):g} → {value:g}: {described(found[IN_PROMPT])}; {described(tokens)}"
    return Budgeted(key, value, reason[:500], told)


def _kept(evidence: Comparison) -> bool:
    return evidence.low >= -MOST_LOST


def confirmed(resting: Held, everything: Held, settings: RuntimeSettings, key: str, value: Any) -> Budgeted:
    """What the questions that were held out say to a value, whoever proposed it; ``everything``: with those of which
    nothing is told."""
    return _decided(weighed(resting, everything, settings, key), settings, key, value)
