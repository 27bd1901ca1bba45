"""LoCoMo's questions as the optimizer is told of them: numbers, labelled by the truth or by what an answer tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.locomo.memory import NOW
from bench.locomo.runs import LIMIT, Case, Runs
from libs.shared.contracts.replay import AskedTurn, Evidence
from services.cognition.replaying.evidence import evidence_of


@dataclass(frozen=True)
class Replayable:
    """A question by both labels: ``gold`` has LoCoMo's own, ``told`` those that the answer gives away."""

    file: int
    gold: Evidence
    told: Evidence
    kind: str


def replayable(runs: Runs) -> list[Replayable]:
    """Every question whose truth is among the candidates. What is independent is a session: the questions on one are
    taken for one conversation."""
    made = [_one(runs, f"q{number}", case) for number, case in enumerate(runs.cases)]
    return [one for one in made if one.gold.relevant]


def resting_on_none(runs: Runs) -> list[Replayable]:
    """LoCoMo's adversarial questions, which nothing answers: what stands in their prompts is for nothing."""
    cases = [
        Case(place, asked)
        for place, conversation in enumerate(runs.conversations)
        for asked in conversation.unanswerable
    ]
    made = [_one(runs, f"u{number}", case) for number, case in enumerate(cases)]
    none: dict[str, tuple[int, ...]] = {"relevant": ()}
    return [replace(o, gold=o.gold.model_copy(update=none), told=o.told.model_copy(update=none)) for o in made]


def _one(runs: Runs, turn_id: str, case: Case) -> Replayable:
    memory, evidence = runs.memory(case), runs.evidence(case, LIMIT)
    found, items = memory.found(evidence)
    sessions = {turn.id: turn.session for turn in memory.turns}
    asked = AskedTurn(
        turn_id=turn_id,
        user_id="user",
        conversation_id=min(sessions[name] for name in case.asked.gold),
        question=case.asked.text,
        answer=case.asked.answer,
        at=NOW,
    )
    told = evidence_of(asked, evidence.question, found, [item.text for item in items], evidence.whole)
    truth = tuple(place for place, item in enumerate(items) if item.id in case.asked.gold)
    return Replayable(case.conversation, told.model_copy(update={"relevant": truth}), told, case.asked.kind)


def of_files(questions: Sequence[Replayable], files: Sequence[int], *, gold: bool) -> list[Evidence]:
    """The evidence of some conversations' questions."""
    return [one.gold if gold else one.told for one in questions if one.file in files]
