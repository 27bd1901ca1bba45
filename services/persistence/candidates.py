"""Which memories of one user are worth a closer look for a question, and all the evidence there is of each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import Candidates, FindCandidates
from services.persistence import scoring
from services.persistence.memory_index import MemoryIndex, View
from services.persistence.nearest import cosines, unit
from services.persistence.segments import Array

_LONGEST_CHAIN = 8
"""Of memories that each tell otherwise than the one before."""


@dataclass(frozen=True)
class Asked:
    """A question as numbers."""

    terms: tuple[int, ...]
    vector: Array | None
    embedder: str | None
    limit: int
    intervals: tuple[tuple[float, float], ...]
    """Seconds since 1970; the end is not in it."""

    @classmethod
    def of(cls, request: FindCandidates, terms: Sequence[int]) -> Asked:
        return cls(
            terms=tuple(dict.fromkeys(terms)),
            vector=unit(request.vector) if request.vector else None,
            embedder=request.embedder,
            limit=request.limit,
            intervals=tuple((span.start.timestamp(), span.end.timestamp()) for span in request.intervals),
        )


@dataclass(frozen=True)
class Found:
    """Candidates by number, in no order."""

    numbers: Array
    bm25: Array
    cosine: Array
    """NaN where there is no vector of the embedder."""
    whole_bm25: float = 0.0
    """Of a turn that holds every term."""


def search(index: MemoryIndex, asked: Asked, beside: Executor | None = None) -> Found:
    """The best by terms, by vector, and by both within the intervals; and what tells otherwise than one of these.

    With an executor the nearest vectors are looked for there, while the terms are scored here.
    """
    view = index.view
    alive = index["alive"][: view.size]
    vector = asked.vector if _comparable(index, asked) else None
    nearest = _nearest(index, view.size, alive, vector, asked.limit)
    waiting = beside.submit(nearest) if beside is not None else None
    scores, whole = _scores(view, asked)
    scores *= alive
    chosen = [_best(scores, asked.limit), waiting.result() if waiting is not None else nearest()]
    if asked.intervals:
        chosen.append(_within(index, view, scores, vector, asked))
    numbers = _with_newer(index, view, np.unique(np.concatenate(chosen)).astype(np.int64))
    return Found(numbers, scores[numbers], _cosines(index, numbers, vector), whole)


def _nearest(index: MemoryIndex, size: int, within: Array, vector: Array | None, most: int) -> Callable[[], Array]:
    """Looks for the numbers of the nearest when it is called; none where there are no vectors to compare."""
    vectors = index.vectors
    if vector is None or vectors is None:
        return lambda: np.zeros(0, dtype=np.int64)
    return lambda: vectors.nearest(vector, size, within, most)[0]


def _comparable(index: MemoryIndex, asked: Asked) -> bool:
    if index.vectors is None or asked.vector is None or asked.embedder is None:
        return False
    return asked.embedder == index.embedder and len(asked.vector) == index.vectors.dimensions


def _scores(view: View, asked: Asked) -> tuple[Array, float]:
    """By number; and of a turn that holds every term."""
    result = np.zeros(view.size, dtype=np.float32)
    if not asked.terms:
        return result, 0.0
    parts = (view.base, view.recent)
    by_place, whole = scoring.bm25(parts, asked.terms, documents=view.documents, mean_length=view.mean_length)
    for part, scores in zip(parts, by_place, strict=True):
        at = np.flatnonzero((scores > 0) & part.layout.counted)
        result[part.layout.numbers[at]] = scores[at]
    return result, whole


def _best(scores: Array, limit: int) -> Array:
    """Numbers of the highest scores above 0; of equals the newer."""
    found = np.flatnonzero(scores > 0)
    if len(found) > limit:
        threshold = np.partition(scores[found], len(found) - limit)[len(found) - limit]
        found = found[scores[found] >= threshold]
    return found[np.lexsort((-found, -scores[found]))[:limit]]


def _within(index: MemoryIndex, view: View, scores: Array, vector: Array | None, asked: Asked) -> Array:
    """The best of both kinds of what was said then; where neither says anything, the most important."""
    at = index["at"][: view.size]
    inside = index["alive"][: view.size].copy()
    inside &= np.any([(at >= start) & (at < end) for start, end in asked.intervals], axis=0)
    most = max(1, asked.limit // 2)
    chosen = [_best(scores * inside, most), _nearest(index, view.size, inside, vector, most)()]
    found = np.unique(np.concatenate(chosen))
    if len(found) < most:
        inside[found] = False
        others = np.flatnonzero(inside)
        order = np.lexsort((-at[others], -index.importance(others)))
        found = np.concatenate([found, others[order[: most - len(found)]]])
    return found


def _with_newer(index: MemoryIndex, view: View, numbers: Array) -> Array:
    newer, alive = index["newer"][: view.size], index["alive"][: view.size]
    for _ in range(_LONGEST_CHAIN):
        told = newer[numbers]
        told = told[(told >= 0) & (told < view.size)]
        more = np.setdiff1d(told[alive[told]], numbers)
        if not len(more):
            break
        numbers = np.concatenate([numbers, more])
    return numbers


def _cosines(index: MemoryIndex, numbers: Array, vector: Array | None) -> Array:
    result = np.full(len(numbers), np.nan, dtype=np.float32)
    if vector is not None and index.vectors is not None:
        here = np.flatnonzero(index.vectors.present[numbers])
        result[here] = cosines(index.vectors.matrix, numbers[here], vector)
    return result


def candidates(index: MemoryIndex, found: Found, fresh: tuple[MemoryItem, ...]) -> Candidates:
    """As the contract has them."""
    numbers = found.numbers
    names, speakers = _renumbered(index, numbers)
    places = {number: place for place, number in enumerate(numbers.tolist())}
    return Candidates(
        ordinals=tuple(index["ordinals"][numbers].tolist()),
        conversations=tuple(index["conversations"][numbers].tolist()),
        speakers=speakers,
        at=tuple(index["at"][numbers].tolist()),
        words=tuple(index["words"][numbers].tolist()),
        traits=tuple(index["traits"][numbers].tolist()),
        importance=tuple(index.importance(numbers).tolist()),
        uses=tuple(index["uses"][numbers].tolist()),
        used_at=tuple(index["used_at"][numbers].tolist()),
        pinned=tuple(index["pinned"][numbers].tolist()),
        bm25=tuple(found.bm25.tolist()),
        cosine=tuple(None if value != value else value for value in found.cosine.tolist()),
        newer=tuple(places.get(newer, -1) for newer in index["newer"][numbers].tolist()),
        names=names,
        whole_bm25=found.whole_bm25,
        fresh=fresh,
    )


def _renumbered(index: MemoryIndex, numbers: Array) -> tuple[tuple[str, ...], tuple[int, ...]]:
    needed, places = np.unique(index["speakers"][numbers], return_inverse=True)
    return tuple(index.names[place] for place in needed), tuple(places.tolist())
