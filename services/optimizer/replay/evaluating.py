"""Evaluating a change of a setting, whoever proposed it, on questions that no search saw; in the child alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.optimizer.replay.exchange import Evaluated, EvaluateJob
from services.optimizer.replay.held import Held, parted
from services.optimizer.replay.judging import EVIDENCE, IN_PROMPT, RANK, RECALL, judge
from services.optimizer.tuning.budgets import confirmed

TOO_LITTLE = frozenset({"too_few", "not_measured"})
_FOUND = frozenset({RECALL, EVIDENCE, RANK, IN_PROMPT})


@dataclass(frozen=True)
class HeldOut:
    """Questions that no search saw: those that rest on something, and all."""

    resting: Held
    all: Held


Judge = Callable[[HeldOut, RuntimeSettings, RuntimeSettings, str], Evaluated]
"""From what is held out, the settings before and after, and the key in which they differ."""


def by_recall(held_out: HeldOut, before: RuntimeSettings, after: RuntimeSettings, key: str) -> Evaluated:
    """More must be found, or earlier, and nothing else be lost."""
    judgement = judge(held_out.resting, before, after)
    verdict = judgement.verdict
    accepted = None if verdict.why in TOO_LITTLE else verdict.accepted
    return Evaluated(accepted=accepted, reason=verdict.reason, measured=judgement.measured)


def by_worth(held_out: HeldOut, before: RuntimeSettings, after: RuntimeSettings, key: str) -> Evaluated:
    """What stands in a prompt must be worth more for its tokens, and its evidence not be lost."""
    found = confirmed(held_out.resting, held_out.all, before, key, getattr(after, key))
    told = {one.measure: one for one in (*found.measured, *judge(held_out.resting, before, after, IN_PROMPT).measured)}
    accepted = None if found.too_little else found.value is not None
    return Evaluated(accepted=accepted, reason=found.reason, measured=tuple(told.values()))


JUDGES: dict[str, Judge] = {
    "recall_weights": by_recall,
    "recall_k": by_worth,
    "recall_min_score": by_worth,
    "prompt_memory_share": by_worth,
}
"""By setting; their names stand in ``exchange.REPLAYABLE``."""


def run(body: bytes) -> bytes:
    """The job ``evaluate``."""
    job = EvaluateJob.model_validate_json(body)
    return evaluated(job.evidence, job.before, job.after, job.key).model_dump_json().encode()


def evaluated(evidence: Sequence[Evidence], before: RuntimeSettings, after: RuntimeSettings, key: str) -> Evaluated:
    """On the part that is held out."""
    held_out = HeldOut(parted(evidence)[1], parted(evidence, resting=False)[1])
    if not len(held_out.resting):
        return Evaluated(accepted=None, reason="nothing that was asked may be replayed")
    if getattr(before, key) == getattr(after, key):
        return Evaluated(accepted=False, reason="refused: it is in force as it is")
    told = JUDGES[key](held_out, before, after, key)
    worse = told.accepted is not None and any(_worse(one) for one in told.measured if one.measure in _FOUND)
    return told.model_copy(update={"worse": worse})


def _worse(one: Measured) -> bool:
    return one.high < 0.0
