"""BM25 over packed postings, by numpy: bytes and numbers in, scores out. Imported once it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_POSTING = np.dtype([("number", "<u4"), ("frequency", "<u2"), ("length", "<u2")])
_K1 = 1.2
_B = 0.75


def without(postings: bytes, numbers: Iterable[int]) -> bytes:
    """The postings of other documents than ``numbers``."""
    rows = np.frombuffer(postings, dtype=_POSTING)
    return rows[~np.isin(rows["number"], np.fromiter(numbers, dtype=np.uint32))].tobytes()


@dataclass(frozen=True)
class Scores:
    """BM25 by document number; 0 where no term occurs."""

    by_number: npt.NDArray[np.float64]

    def of(self, number: int) -> float:
        return float(self.by_number[number]) if number < len(self.by_number) else 0.0

    def best(self, limit: int, excluded: Iterable[int] = ()) -> list[int]:
        """The numbers of the best documents with a score above 0, best first, ties by number."""
        scores = self.by_number.copy()
        left_out = np.fromiter((n for n in excluded if n < len(scores)), dtype=np.int64)
        scores[left_out] = 0.0
        found = np.flatnonzero(scores)
        if len(found) > limit:
            threshold = np.partition(scores[found], len(found) - limit)[len(found) - limit]
            found = found[scores[found] >= threshold]
        order = np.lexsort((found, -scores[found]))[:limit]
        return [int(number) for number in found[order]]


def bm25(blocks: Mapping[bytes, list[bytes]], *, documents: int, tokens: int) -> Scores:
    """Okapi BM25 (k1 1.2, b 0.75), IDF as in Lucene: ln(1 + (N - n + 0.5) / (n + 0.5)).

    Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), equation 3.15.
    """
    terms = [np.frombuffer(b"".join(parts), dtype=_POSTING) for parts in blocks.values()]
    terms = [rows for rows in terms if len(rows)]
    if not terms:
        return Scores(np.zeros(0))
    sums = np.zeros(max(int(rows["number"].max()) for rows in terms) + 1)
    mean = max(tokens / max(documents, 1), 1e-9)
    for rows in terms:
        idf = np.log1p((max(documents, len(rows)) - len(rows) + 0.5) / (len(rows) + 0.5))
        frequency = rows["frequency"].astype(np.float64)
        norm = _K1 * (1 - _B + _B * rows["length"] / mean)
        # A document stands at most once in a term's postings, so plain indexing adds correctly.
        sums[rows["number"]] += idf * frequency * (_K1 + 1) / (frequency + norm)
    return Scores(sums)
