"""What recall is held against: BM25 over single turns, cosines, and their two usual sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.locomo.data import Turn
from bench.locomo.vectors import Vectors
from libs.shared.text import query_terms, term_counts

K1, B = 1.2, 0.75
"""Lucene's."""
RANK_CONSTANT = 60
"""Cormack, Clarke & Büttcher 2009."""
MOST_TERMS = 256

Values = NDArray[np.float64]
"""One a turn."""


class Plain:
    """Turns as bags of terms, and as vectors."""

    def __init__(self, turns: Sequence[Turn], vectors: Vectors) -> None:
        self._vectors = vectors
        self._postings: dict[str, list[tuple[int, int]]] = {}
        lengths = np.zeros(len(turns))
        for place, turn in enumerate(turns):
            for term, count in term_counts(turn.text).items():
                self._postings.setdefault(term, []).append((place, count))
                lengths[place] += count
        self._norms = K1 * (1 - B + B * lengths / lengths.mean())
        made = vectors.of(turn.text for turn in turns)
        self._matrix = np.stack([_unit(made[turn.text]) for turn in turns])

    def bm25(self, terms: Iterable[str]) -> Values:
        scores = np.zeros(len(self._norms))
        for term in terms:
            postings = self._postings.get(term, [])
            weight = np.log1p((len(scores) - len(postings) + 0.5) / (len(postings) + 0.5))
            for place, count in postings:
                scores[place] += weight * count * (K1 + 1) / (count + self._norms[place])
        return scores

    def cosine(self, text: str) -> Values:
        product: Values = self._matrix @ _unit(self._vectors.of([text], "query")[text])
        return product


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


Fusion = Callable[[Values, Values], Values]


def _reciprocal(scores: Values) -> Values:
    ranks = np.empty(len(scores))
    ranks[order(scores)] = np.arange(1, len(scores) + 1)
    return 1 / (RANK_CONSTANT + ranks)


def _scaled(scores: Values) -> Values:
    span = scores.max() - scores.min()
    return (scores - scores.min()) / span if span else np.zeros(len(scores))


def _unit(vector: bytes) -> Values:
    numbers = np.frombuffer(vector, dtype="<f4").astype(np.float64)
    return numbers / max(float(np.linalg.norm(numbers)), 1e-12)
