"""How much of what was looked for a memory's search would find, by vectors alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def recall(queries: Vectors, memories: Vectors, relevant: Sequence[Collection[int]], k: int) -> NDArray[np.float64]:
    """For each query (queries x width), the share of its ``relevant`` memories (indices into memories x width) that are
    among the ``k`` nearest by cosine. Not a number for a query with none. Ties go to the earlier memory.
    """
    nearest = np.argsort(-(_unit(queries) @ _unit(memories).T), axis=1, kind="stable")[:, :k]
    found = [
        len(set(wanted).intersection(row.tolist())) / len(set(wanted)) if wanted else float("nan")
        for wanted, row in zip(relevant, nearest, strict=True)
    ]
    return np.array(found, dtype=np.float64)


def reciprocal_ranks(queries: Vectors, memories: Vectors, answers: Sequence[int]) -> NDArray[np.float64]:
    """For each query one by the place, from 1, of its answer (an index into memories) by cosine. Those that are as near
    come before it, so that vectors that are all alike find nothing."""
    likeness = _unit(queries) @ _unit(memories).T
    own = likeness[np.arange(len(answers)), np.asarray(answers, dtype=np.int64)]
    return np.asarray(1.0 / (likeness >= own[:, None]).sum(axis=1), dtype=np.float64)


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """Row by row."""
    return np.asarray((_unit(one) * _unit(other)).sum(axis=1), dtype=np.float64)


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
