"""How well two orders agree. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def spearman(one: Any, other: Any) -> float:
    """Rank correlation, -1 to 1; equal values share the mean of their ranks. Not a number where all values of one are
    equal."""
    first, second = ranks(np.asarray(one)), ranks(np.asarray(other))
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / spread) if spread else float("nan")


def ranks(values: Any) -> NDArray[np.float64]:
    """From 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[group], dtype=np.float64)
