"""BM25 of a memory within the turns around it, by numpy: keyed terms and numbers in, scores out. Pure.

BM25F (Robertson, Zaragoza and Taylor, Simple BM25 Extension to Multiple Weighted Fields, 2004) with the neighbouring
turns of the conversation as fields: frequencies are weighted and added, then saturated once, so that a word that both a
question and its answer hold doesn't count twice. IDF as in Lucene: ln(1 + (N - n + 0.5) / (n + 0.5)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.persistence.segments import Array

K1 = 0.8
B = 0.75
AROUND = {0: 1.0, -1: 0.5, -2: 0.3, 1: 0.3}
"""Offset of a neighbouring turn → what its terms weigh. Measured in docs/memory.md."""
_WEIGHTS = sum(AROUND.values())
_BEFORE = -min(AROUND)
_AFTER = max(AROUND)
GAP = max(_BEFORE, _AFTER)
"""Empty places between turns that aren't neighbours."""
FEWEST = 100
"""So many memories are taken to be there at least. One or two can't tell how rare a word is: one of the question's that
none has would weigh more than the name that one has, and what was said just now would be no answer."""
_DENSE = 32
"""A term that stands in more than one of so many places is added up over all of them: measured, that is faster."""


@dataclass(frozen=True)
class Layout:
    """Memories on places in a row, so that the turns around one stand beside it, and GAP empty places between others.

    Only what is ``counted`` is scored here; the rest is there for what it gives its neighbours.
    """

    numbers: Array
    """Of the memory on a place; −1: none."""
    counted: Array


def lay_out(order: Array, conversations: Array, counted: Array) -> Layout:
    """The counted of ``order`` (memories' numbers by conversation, then by time) with those around them."""
    shown = counted.copy()
    for offset in AROUND:
        if offset:
            shown |= _shifted(counted, -offset, False) & (_shifted(conversations, -offset, -1) == conversations)
    chosen = np.flatnonzero(shown)
    if not len(chosen):
        return Layout(np.full(2 * GAP, -1, dtype=np.int32), np.zeros(2 * GAP, dtype=bool))
    broken = np.ones(len(chosen), dtype=bool)
    of = conversations[chosen]
    broken[1:] = (np.diff(chosen) != 1) | (of[1:] != of[:-1])
    places = np.arange(len(chosen)) + GAP * np.cumsum(broken)
    numbers = np.full(int(places[-1]) + 1 + GAP, -1, dtype=np.int32)
    numbers[places] = order[chosen]
    scored = np.zeros(len(numbers), dtype=bool)
    scored[places] = counted[chosen]
    return Layout(numbers, scored)


def _shifted(values: Array, offset: int, missing: object) -> Array:
    """What stands ``offset`` places further on."""
    result = np.full_like(values, missing)
    if offset > 0:
        result[:-offset] = values[offset:]
    else:
        result[-offset:] = values[:offset]
    return result


def neighbours(numbers: Array, places: Array) -> Array:
    """A row a place: the numbers around it, by the offsets of AROUND."""
    return np.stack([numbers[places + offset] for offset in AROUND if offset], axis=1)


def around(order: Array, conversations: Array) -> Array:
    """The same for memories in order, whichever places they have; −1 beyond a conversation's ends."""
    columns = []
    for offset in AROUND:
        if offset:
            same = _shifted(conversations, offset, -1) == conversations
            columns.append(np.where(same, _shifted(order, offset, -1), -1))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Part:
    """An inverted index over a layout."""

    layout: Layout
    lengths: Array
    """Of a turn with the turns around it, weighted, in terms."""
    hashes: Array
    """Every term once, ascending."""
    starts: Array
    """Where a term's places begin; one more than there are terms."""
    places: Array
    frequencies: Array

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        arrays = (self.layout.numbers, self.layout.counted, self.lengths)
        return sum(a.nbytes for a in (*arrays, self.hashes, self.starts, self.places, self.frequencies))

    def postings(self, term: int) -> tuple[Array, Array]:
        """Places and frequencies of a term."""
        at = int(np.searchsorted(self.hashes, np.uint64(term)))
        if at == len(self.hashes) or int(self.hashes[at]) != term:
            return self.places[:0], self.frequencies[:0]
        span = slice(int(self.starts[at]), int(self.starts[at + 1]))
        return self.places[span], self.frequencies[span]


def invert(layout: Layout, sizes: Array, hashes: Array, frequencies: Array) -> Part:
    """The part over ``layout``. ``sizes``: different terms of the memory on each place, 0 where there is none; their
    hashes and frequencies follow one another in the order of the places."""
    owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    own = np.bincount(owners, weights=frequencies, minlength=len(sizes)).astype(np.float32)
    order = np.argsort(hashes, kind="stable")
    sorted_hashes = hashes[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = sorted_hashes[1:] != sorted_hashes[:-1]
    starts = np.append(np.flatnonzero(first), len(order))
    return Part(
        layout=layout,
        lengths=_weighted(own),
        hashes=sorted_hashes[first],
        starts=starts,
        places=owners[order],
        frequencies=frequencies[order],
    )


def _weighted(values: Array) -> Array:
    """Each place's value with those around it, weighted."""
    result = values.copy()
    for offset, weight in AROUND.items():
        if offset > 0:
            result[:-offset] += np.float32(weight) * values[offset:]
        elif offset < 0:
            result[-offset:] += np.float32(weight) * values[:offset]
    return result


def bm25(
    parts: Sequence[Part], terms: Sequence[int], *, documents: int, mean_length: float
) -> tuple[list[Array], float]:
    """One array a part, a score a place; and what a turn of mean length scores that holds every term once, with nothing
    around it (unknown terms count too). ``documents`` and their ``mean_length`` are those of all parts together."""
    found = [[part.postings(term) for part in parts] for term in terms]
    weights = [_idf(max(documents, FEWEST), _holders(parts, postings)) for postings in found]
    scores = [
        _scores(part, [postings[i] for postings in found], weights, mean_length) if len(part.hashes) else _nothing(part)
        for i, part in enumerate(parts)
    ]
    return scores, sum(weights) * (K1 + 1) / (1 + K1 * (1 - B + B / _WEIGHTS))


def _nothing(part: Part) -> Array:
    return np.zeros(len(part.layout.numbers), dtype=np.float32)


def _holders(parts: Sequence[Part], postings: Sequence[tuple[Array, Array]]) -> int:
    return sum(
        int(np.count_nonzero(part.layout.counted[places])) for part, (places, _) in zip(parts, postings, strict=True)
    )


def _idf(documents: int, holders: int) -> float:
    return float(np.log1p((max(documents, holders) - holders + 0.5) / (holders + 0.5)))


def _scores(part: Part, postings: Sequence[tuple[Array, Array]], weights: Sequence[float], mean_length: float) -> Array:
    size = len(part.layout.numbers)
    scores, buffer = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    norms = part.lengths * np.float32(K1 * B / max(mean_length * _WEIGHTS, 1e-9))
    norms += np.float32(K1 * (1 - B))
    for (places, frequencies), weight in zip(postings, weights, strict=True):
        factor = np.float32(weight * (K1 + 1))
        if len(places) * _DENSE > size:
            buffer[places] = frequencies
            found = _weighted(buffer)
            scores += factor * found / (found + norms)
            buffer[places] = 0
        elif len(places):
            _add_sparse(scores, buffer, norms, places, frequencies, factor)
    return scores


def _add_sparse(
    scores: Array, buffer: Array, norms: Array, places: Array, frequencies: Array, factor: np.float32
) -> None:
    """Costs as much as there are postings. ``buffer`` is zero before and after; a layout's ends are gaps."""
    touched = [places - offset for offset in AROUND]
    for moved, weight in zip(touched, AROUND.values(), strict=True):
        buffer[moved] += np.float32(weight) * frequencies
    every = np.concatenate(touched)
    found = buffer[every]
    # A place that stands in it twice is read before it is written, and written the same twice.
    scores[every] += factor * found / (found + norms[every])
    buffer[every] = 0
