"""Whether an encoder is better than what it was made from, and than what embeds now, on an exam's vectors. Pure.

It must be better than each of them at what the memory does: bring the answer to a question to the top, among questions
that words alone don't answer. Where there are too few of those the pairs that people rated decide. What doesn't decide
must not get worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from libs.shared.evaluation.bootstrap import LEAST_UNITS, Comparison, compare_means, compare_ranks, totals
from libs.shared.evaluation.decision import Verdict, decide
from services.trainer.evaluation.exam import Exam
from services.trainer.evaluation.questions import Questions
from services.trainer.evaluation.retrieval import Vectors, cosines, recall, reciprocal_ranks

Embedded = Mapping[str, Vectors]
"""As an exam's texts: ``queries``, ``passages``, ``first``, ``second``."""
RECALLED = 5
SEED = 0


def judge(
    exam: Exam, before: Mapping[str, Embedded], after: Embedded, others: Sequence[Comparison] = ()
) -> Verdict | None:
    """``before``: what it is held against → its vectors. None: there is nothing to tell by."""
    telling = telling_conversations(exam.questions)
    must: list[Comparison] = []
    rest = list(others)
    for name, theirs in before.items():
        ranked = must if telling >= LEAST_UNITS else None
        if ranked is not None:
            ranked.append(_ranks(exam.questions, theirs, after, name))
            rest.append(_recall(exam.questions, theirs, after, name))
        if exam.pairs.scores:
            (rest if ranked is not None else must).append(_agreement(exam, theirs, after, name))
    return decide(must[0], rest, must[1:]) if must else None


def telling_conversations(questions: Questions) -> int:
    """Of how many there are questions that words alone don't answer."""
    return len({questions.questions[at].conversation for at in questions.telling})


def _ranks(questions: Questions, before: Embedded, after: Embedded, name: str) -> Comparison:
    chosen = list(questions.telling)
    answers = [questions.questions[at].answer for at in chosen]
    units = [questions.questions[at].conversation for at in chosen]
    theirs, own = (
        totals(reciprocal_ranks(of["queries"][chosen], of["passages"], answers), units) for of in (before, after)
    )
    return compare_means(f"reciprocal rank of the answer, against {name}", theirs, own, better="higher", seed=SEED)


def _recall(questions: Questions, before: Embedded, after: Embedded, name: str) -> Comparison:
    wanted = [[one.answer] for one in questions.questions]
    units = [one.conversation for one in questions.questions]
    theirs, own = (totals(recall(of["queries"], of["passages"], wanted, RECALLED), units) for of in (before, after))
    return compare_means(f"recall at {RECALLED}, against {name}", theirs, own, better="higher", seed=SEED)


def _agreement(exam: Exam, before: Embedded, after: Embedded, name: str) -> Comparison:
    theirs, own = (cosines(of["first"], of["second"]) for of in (before, after))
    return compare_ranks(f"Spearman on rated pairs, against {name}", theirs, own, exam.pairs.scores, seed=SEED)
