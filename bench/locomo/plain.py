"""What recall is held against: BM25 over single turns, cosines, and their two usual sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.locomo.data import Turn
from bench.locomo.vectors import Vectors
from libs.shared.text import query_terms, terms

K1, B = 1.2, 0.75
"""Lucene's."""
RANK_CONSTANT = 60
"""Cormack, Clarke & Büttcher 2009."""
MOST_TERMS = 256

Values = NDArray[np.float64]
"""One a turn."""
Bag = Mapping[str, float]
"""How often a turn has each term."""
Fusion = Callable[[Values, Values], Values]


def bags(texts: Iterable[str], split: Callable[[str], Sequence[str]] = terms) -> list[Bag]:
    """Of each text its terms."""
    return [Counter(split(text)) for text in texts]


def blended(alone: Sequence[Bag], sessions: Sequence[str], around: Mapping[int, float]) -> list[Bag]:
    """Each turn with the turns of its session around it: by their offset, what their terms weigh."""
    result: list[Bag] = []
    for place, session in enumerate(sessions):
        bag: dict[str, float] = {}
        for offset, weight in ({0: 1.0} | dict(around)).items():
            other = place + offset
            if 0 <= other < len(alone) and sessions[other] == session:
                for term, count in alone[other].items():
                    bag[term] = bag.get(term, 0.0) + weight * count
        result.append(bag)
    return result


class Lexical:
    """BM25. What a term is worth depends on the turns that hold it themselves, in ``alone``."""

    def __init__(
        self, alone: Sequence[Bag], shown: Sequence[Bag] | None = None, *, k1: float = K1, b: float = B
    ) -> None:
        self._k1 = k1
        self._holders = Counter(term for bag in alone for term in bag)
        self._postings: dict[str, list[tuple[int, float]]] = {}
        shown = alone if shown is None else shown
        for place, bag in enumerate(shown):
            for term, count in bag.items():
                self._postings.setdefault(term, []).append((place, count))
        lengths = np.array([sum(bag.values()) for bag in shown], dtype=np.float64)
        self._norms = k1 * (1 - b + b * lengths / lengths.mean())

    def scores(self, asked: Iterable[str]) -> Values:
        """Of a question's terms."""
        result = np.zeros(len(self._norms))
        for term in asked:
            holders = self._holders[term]
            weight = np.log1p((len(result) - holders + 0.5) / (holders + 0.5))
            for place, count in self._postings.get(term, ()):
                result[place] += weight * count * (self._k1 + 1) / (count + self._norms[place])
        return result


class Meanings:
    """Vectors of turns; of a turn with several the nearest counts."""

    def __init__(self, texts: Sequence[Sequence[str]], vectors: Vectors) -> None:
        self._vectors = vectors
        self._starts = np.cumsum([0, *(len(some) for some in texts[:-1])])
        made = vectors.of(text for some in texts for text in some)
        self.matrix = np.stack([unit(made[text]) for some in texts for text in some])

    def cosines(self, question: str) -> Values:
        near = self.matrix @ unit(self._vectors.of([question], "query")[question])
        best: Values = np.maximum.reduceat(near, self._starts)
        return best


class Plain:
    """Turns as bags of terms, and as vectors."""

    def __init__(self, turns: Sequence[Turn], vectors: Vectors) -> None:
        self._lexical = Lexical(bags(turn.text for turn in turns))
        self._meanings = Meanings([[turn.text] for turn in turns], vectors)

    def bm25(self, asked: Iterable[str]) -> Values:
        return self._lexical.scores(asked)

    def cosine(self, text: str) -> Values:
        return self._meanings.cosines(text)


def terms_of(question: str) -> tuple[str, ...]:
    """Of the question as it was asked."""
    return query_terms(question, MOST_TERMS)


def order(scores: Values) -> list[int]:
    """Best first, of equals the newer."""
    best: list[int] = np.lexsort((-np.arange(len(scores)), -scores)).tolist()
    return best


def reciprocal_ranks(first: Values, second: Values) -> Values:
    """Reciprocal rank fusion."""
    return _reciprocal(first) + _reciprocal(second)


def convex(first: Values, second: Values) -> Values:
    """The mean of both, each scaled to 0..1."""
    return (_scaled(first) + _scaled(second)) / 2


def unit(vector: bytes) -> Values:
    """The direction of a vector of little-endian float32 values."""
    numbers = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    return numbers / max(float(np.linalg.norm(numbers)), 1e-12)


def _reciprocal(scores: Values) -> Values:
    ranks = np.empty(len(scores))
    ranks[order(scores)] = np.arange(1, len(scores) + 1)
    return 1 / (RANK_CONSTANT + ranks)


def _scaled(scores: Values) -> Values:
    span = scores.max() - scores.min()
    return (scores - scores.min()) / span if span else np.zeros(len(scores))
