"""How much evidence a memory needs to stand in a prompt: what unrelated questions bring, against what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.locomo.data import Conversation
from bench.locomo.memory import PRODUCT, Evidence
from bench.locomo.runs import LIMIT, Runs
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.cognition.recall import LEAST_COSINE, Ranked

UNRELATED = (
    "What is the capital of Australia?",
    "Write a function that reverses a linked list.",
    "How do I convert miles to kilometres?",
    "Explain how photosynthesis works.",
    "Translate 'good morning' to German.",
    "What is the square root of 144?",
    "Fix this SQL query: select * from users where id = 1",
    "Who wrote War and Peace?",
    "Summarise the theory of relativity.",
    "What's the boiling point of mercury?",
    "Give me a regular expression for email addresses.",
    "How does TCP congestion control work?",
    "What is the longest river in South America?",
    "Why is the sky blue?",
    "Sort these numbers: 9, 3, 7",
    "What is the GDP of Japan?",
    "Convert 0x1F to decimal.",
    "How tall is Mount Everest?",
    "What causes tides?",
    "Name three noble gases.",
    "What is a monad in Haskell?",
    "How does a diesel engine work?",
    "When did the Roman Empire fall?",
    "List the prime numbers below 50.",
    "How many moons does Jupiter have?",
    "What's the difference between HTTP and HTTPS?",
)
"""Have nothing to do with anybody's life."""
LEASTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
RATES = (0.05, 0.02)
IN_A_PROMPT = RuntimeSettings().recall_k
STRANGERS_STRIDE = 4

Grade = tuple[float, float]
"""What terms say for a memory, and what meaning says: 0..1."""
Ways: Mapping[str, Callable[[Grade], float]] = {
    "the larger of the two": max,
    "terms alone": lambda grade: grade[0],
    "meaning alone": lambda grade: grade[1],
    "their probabilistic sum (the product)": lambda grade: grade[0] + grade[1] - grade[0] * grade[1],
    "their sum": sum,
}


@dataclass(frozen=True)
class Graded:
    """Grades of the best that would stand in a prompt: of evidence alone where there is any, of all where there
    can't be."""

    gold: Sequence[Sequence[Grade]]
    unrelated: Sequence[Sequence[Grade]]
    strangers: Sequence[Sequence[Grade]]
    """Questions of another conversation, its names exchanged for those of this one."""


def graded(runs: Runs) -> Graded:
    gold = []
    for case in runs.cases:
        evidence = runs.evidence(case, LIMIT)
        turns = runs.memory(case).turns
        best = _best(evidence)
        gold.append([_grade(one, evidence) for one in best if turns[one.found.ordinal].id in case.asked.gold])
    asked = [memory.evidence(text, LIMIT) for memory in runs.memories for text in UNRELATED]
    strange = [
        memory.evidence(text, LIMIT)
        for place, memory in enumerate(runs.memories)
        for text in strangers(runs.conversations, place)
    ]
    others = [[[_grade(one, evidence) for one in _best(evidence)] for evidence in some] for some in (asked, strange)]
    return Graded(gold, *others)


def strangers(conversations: Sequence[Conversation], place: int) -> Iterator[str]:
    """Questions of the next conversation, as if its people were those of this one; none where there is but one."""
    other = conversations[(place + 1) % len(conversations)]
    if len(conversations) == 1:
        return
    exchanged = dict(zip(other.speakers, conversations[place].speakers, strict=True))
    names = re.compile(r"\b(?:" + "|".join(map(re.escape, exchanged)) + r")\b")
    for asked in other.questions[::STRANGERS_STRIDE]:
        yield names.sub(lambda match: exchanged[match[0]], asked.text)


def _best(evidence: Evidence) -> list[Ranked]:
    return [one for one in evidence.ranked(PRODUCT) if one.score > 0][:IN_A_PROMPT]


def _grade(one: Ranked, evidence: Evidence) -> Grade:
    terms = min(1.0, one.found.bm25 / evidence.whole) if evidence.whole > 0 else 0.0
    return terms, min(1.0, max(0.0, ((one.found.cosine or 0.0) - LEAST_COSINE) / (1 - LEAST_COSINE)))


def by_least(found: Graded) -> list[tuple[float, float, float, float, float | None]]:
    """For each least: shares of the gold kept, of the questions that keep some of theirs, and of the unrelated
    questions and the strangers' that let something in."""
    way = Ways["their probabilistic sum (the product)"]
    having = [grades for grades in found.gold if grades]
    return [
        (
            least,
            fmean(way(grade) >= least for grades in having for grade in grades),
            _letting_in(having, way, least),
            _letting_in(found.unrelated, way, least),
            _letting_in(found.strangers, way, least) if found.strangers else None,
        )
        for least in LEASTS
    ]


def by_way(found: Graded) -> list[tuple[str, float, float, float]]:
    """For each way to join the two grades and each rate: the least that lets something in for no more of the
    unrelated questions, and the share of the gold that it keeps."""
    return [(name, rate, *_held(found, way, rate)) for name, way in Ways.items() for rate in RATES]


def _held(found: Graded, way: Callable[[Grade], float], rate: float) -> tuple[float, float]:
    most = [max(map(way, grades), default=0.0) for grades in found.unrelated]
    least = float(np.quantile(most, 1 - rate))
    return least, fmean(way(grade) >= least for grades in found.gold for grade in grades)


def _letting_in(questions: Sequence[Sequence[Grade]], way: Callable[[Grade], float], least: float) -> float:
    return fmean(any(way(grade) >= least for grade in grades) for grades in questions)
