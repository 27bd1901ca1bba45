"""What an encoder is asked about: each question that somebody asked, and the answer that a memory should find for it.

The answers are the passages, of all conversations together; the one that was given to a question is what should come
first. Where words alone find it (by how rare the words are that both share) a search needs no vectors, and every
encoder looks good: those questions are marked, and the decision rests on the others. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from libs.shared.text import words


class Question(BaseModel):
    """Of which conversation it is, which passage was its answer, and whether words alone put that one first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    conversation: str
    answer: int
    by_words: bool


class Questions(BaseModel):
    """All of them, and what they are looked for in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: tuple[Question, ...] = ()
    passages: tuple[str, ...] = ()

    @property
    def telling(self) -> tuple[int, ...]:
        """Places of those that words alone don't answer."""
        return tuple(at for at, one in enumerate(self.questions) if not one.by_words)


def questions_of(said: Iterable[tuple[str, str, str]]) -> Questions:
    """From (conversation, question, answer); an answer that was given twice is one passage."""
    given = list(said)
    places: dict[str, int] = {}
    for _, _, answer in given:
        places.setdefault(answer, len(places))
    passages = list(places)
    indexed = [frozenset(words(text)) for text in passages]
    rarity = _rarity(indexed)
    return Questions(
        questions=tuple(
            Question(
                text=question,
                conversation=conversation,
                answer=places[answer],
                by_words=_first(frozenset(words(question)), indexed, rarity) == places[answer],
            )
            for conversation, question, answer in given
        ),
        passages=tuple(passages),
    )


def _rarity(passages: Sequence[frozenset[str]]) -> dict[str, float]:
    """Word → how much it tells, by in how many passages it stands (Robertson and Spärck Jones 1976, smoothed)."""
    counts = Counter(word for passage in passages for word in passage)
    return {word: math.log(1.0 + (len(passages) - count + 0.5) / (count + 0.5)) for word, count in counts.items()}


def _first(asked: frozenset[str], passages: Sequence[frozenset[str]], rarity: dict[str, float]) -> int | None:
    """The passage that shares most with the question, for its length; None where none, or several, come first."""
    scores = [sum(rarity[word] for word in asked & passage) / math.sqrt(max(1, len(passage))) for passage in passages]
    best = max(scores, default=0.0)
    return scores.index(best) if best > 0.0 and scores.count(best) == 1 else None
