"""Which exchanges may be learnt from, and why the others may not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from libs.shared.extractive import is_extractive
from libs.shared.text import words
from services.trainer.curation.exchanges import Exchange
from services.trainer.curation.likeness import Alike, Shingles, normal, shingles

TELLING_WORDS = 8
"""Answers of fewer words are alike without one being learnt from the other ("Yes, of course.")."""


class LeftOut(StrEnum):
    """Why an exchange is in no dataset."""

    DISLIKED = "disliked"
    PARTIAL = "partial"
    QUOTED = "quoted"
    BLANK = "blank"
    TOO_LONG = "too_long"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    ANSWER_IN_TRAINING = "answer_in_training"


IN_WORDS = {
    LeftOut.DISLIKED: "its owner rated it down",
    LeftOut.PARTIAL: "the model broke off in the middle of the answer",
    LeftOut.QUOTED: "the answer quotes memories, no model wrote it",
    LeftOut.BLANK: "question or answer is empty",
    LeftOut.TOO_LONG: "question and answer are longer than allowed",
    LeftOut.DUPLICATE: "the same, but for case, accents and punctuation, as an earlier one",
    LeftOut.NEAR_DUPLICATE: "nearly the same as an earlier one",
    LeftOut.ANSWER_IN_TRAINING: "held out, but nearly the same answer is trained on",
}


def unfit(exchange: Exchange, longest: int) -> LeftOut | None:
    """Why this one alone may not be learnt from; ``longest`` in characters, question and answer together."""
    if exchange.rating < 0:
        return LeftOut.DISLIKED
    if exchange.partial:
        return LeftOut.PARTIAL
    if exchange.quoted or is_extractive(exchange.answer):
        return LeftOut.QUOTED
    if not exchange.question.strip() or not exchange.answer.strip():
        return LeftOut.BLANK
    if len(exchange.question) + len(exchange.answer) > longest:
        return LeftOut.TOO_LONG
    return None


def repeated(pairs: Sequence[tuple[str, str]], likeness: float) -> list[LeftOut | None]:
    """Which of those (question, answer) say what one before them says already."""
    seen: set[tuple[str, str]] = set()
    found: list[LeftOut | None] = []
    for question, answer in pairs:
        same = (normal(question), normal(answer))
        found.append(LeftOut.DUPLICATE if same in seen else None)
        seen.add(same)
    sets = [shingles(f"{question}\n{answer}") for question, answer in pairs]
    standing = Alike(sets, likeness)
    for at, one in enumerate(sets):
        if found[at] is None and standing.knows(one):
            found[at] = LeftOut.NEAR_DUPLICATE
        elif found[at] is None:
            standing.add(one)
    return found


def answers_known(trained: Sequence[str], held_out: Sequence[str], likeness: float) -> list[bool]:
    """Which of the answers held out are nearly the same as one that is trained on, and so would measure memory."""
    sets = [_telling(text) for text in (*trained, *held_out)]
    learnt = Alike(sets, likeness)
    for one in sets[: len(trained)]:
        learnt.add(one)
    return [learnt.knows(one) for one in sets[len(trained) :]]


def _telling(answer: str) -> Shingles:
    return shingles(answer) if len(words(answer)) >= TELLING_WORDS else frozenset()
