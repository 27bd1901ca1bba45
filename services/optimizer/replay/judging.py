"""Whether other settings would have found better, on the same questions: with the interval that chance allows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.evaluation.bootstrap import Comparison, compare_means, totals
from libs.shared.evaluation.decision import Verdict, decide
from services.optimizer.replay.held import Floats, Held
from services.optimizer.replay.scoring import replay

TOLERATED = 0.01
"""Of what a change isn't meant to better, so much may be lost."""
RECALL, EVIDENCE, RANK, IN_PROMPT, TOKENS = (
    "recall",
    "evidence_at_10",
    "reciprocal_rank",
    "evidence_in_prompt",
    "prompt_tokens",
)


@dataclass(frozen=True)
class Judgement:
    """``verdict`` says whether it may be proposed, and ``measured`` all that was compared."""

    verdict: Verdict
    measured: tuple[Measured, ...]


def compare(held: Held, before: RuntimeSettings, after: RuntimeSettings) -> dict[str, Comparison]:
    """Every measure on the same questions, by its name; a conversation is what is independent of the others."""
    one, other = replay(held, before), replay(held, after)
    return {
        RECALL: _compared(RECALL, held, one.recall, other.recall),
        EVIDENCE: _compared(EVIDENCE, held, one.evidence, other.evidence),
        RANK: _compared(RANK, held, one.reciprocal, other.reciprocal),
        IN_PROMPT: _compared(IN_PROMPT, held, one.in_prompt, other.in_prompt),
        TOKENS: _compared(TOKENS, held, one.prompt_tokens, other.prompt_tokens, less=True),
    }


def _compared(name: str, held: Held, before: Floats, after: Floats, *, less: bool = False) -> Comparison:
    units = held.conversations
    return compare_means(
        name,
        totals(before, units),
        totals(after, units),
        better="lower" if less else "higher",
        tolerated=TOLERATED,
    )


def judge(
    held: Held,
    before: RuntimeSettings,
    after: RuntimeSettings,
    primary: str = RECALL,
    guarded: Sequence[str] = (EVIDENCE, RANK, IN_PROMPT),
) -> Judgement:
    """``primary`` must be better beyond noise, and what is ``guarded`` no worse than is tolerated; the rest is told."""
    found = compare(held, before, after)
    others = [found[name] for name in guarded if name != primary]
    return Judgement(decide(found[primary], others), tuple(measured(one) for one in found.values()))


def measured(one: Comparison) -> Measured:
    """As the ledger has it: after − before, whichever is better. Not a number becomes no change at all."""
    low, high = (one.low, one.high) if one.better == "higher" else (-one.high, -one.low)
    known = low == low and high == high
    return Measured(
        measure=one.metric,
        by="replay",
        before=one.before,
        after=one.after,
        low=low if known else -UNKNOWN,
        high=high if known else UNKNOWN,
        samples=one.units,
        unit=one.unit[:16] if one.metric != TOKENS else "tokens",
        better="more" if one.better == "higher" else "less",
    )


UNKNOWN = 1e9
"""Either side of an interval that too few conversations allow to tell."""
