"""By how much a metric changed, and between which bounds that may be chance. Pure.

The paired bootstrap (Efron and Tibshirani 1993, chapter 16; Koehn 2004 for systems on one test set): units are drawn
with replacement, and before and after are computed on the same draw. A unit is what is independent of the others: a
conversation and not its tokens, or the interval would be far too narrow. Bounds are moved outwards for few units
(Hesterberg 2015, "What teachers should know about the bootstrap"): plain percentiles of five miss the truth thrice as
often as they say.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from libs.shared.evaluation.ranks import spearman

Better = Literal["higher", "lower"]
Floats = NDArray[np.float64]
LEAST_UNITS = 5
"""Fewer allow no interval: of four, chance alone puts all on one side one time in eight."""
RESAMPLES = 10_000
RANK_RESAMPLES = 2_000
"""Of statistics that can't be computed for all draws at once."""
CONFIDENCE = 0.95
LEANING = 4.2
"""By which share, over the units' number, the lower bound lies further out than Student's. Where differences lean (most
are small gains, a few large losses) a few units often miss the losses and look alike, and nothing in them tells of it.
This holds false acceptance at one in twenty where differences are as lopsided as an exponential distribution, and at
one in forty or less where they are even: ``python -m bench.deciding`` measures it."""
MANY = 300
"""Units from which Student's distribution is the normal one to three digits."""


@dataclass(frozen=True)
class Comparison:
    """One metric before and after; ``gain`` is the change towards the better, and lies between ``low`` and ``high``
    with ``confidence`` at the least. Bounds are not numbers where there are too few units."""

    metric: str
    better: Better
    before: float
    after: float
    gain: float
    low: float
    high: float
    units: int
    unit: str
    """What is independent of each other, in the plural."""
    confidence: float = CONFIDENCE
    tolerated: float = 0.0
    """A loss up to which it counts as no worse, where it need not improve."""


@dataclass(frozen=True)
class Totals:
    """Of each unit, the sum of a quantity and over how many that is: the metric is all sums by all counts."""

    sums: Floats
    counts: Floats


def totals(values: Any, units: Sequence[Hashable]) -> Totals:
    """``values`` gathered by the unit that each is of, in the units' order of their first value."""
    places = {unit: at for at, unit in enumerate(dict.fromkeys(units))}
    at = np.array([places[unit] for unit in units], dtype=np.int64)
    given = np.asarray(values, dtype=np.float64)
    sums, counts = (np.bincount(at, weights, len(places)) for weights in (given, np.ones_like(given)))
    return Totals(np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64))


def compare_means(
    metric: str,
    before: Totals,
    after: Totals,
    *,
    better: Better,
    unit: str = "conversations",
    seed: int = 0,
    resamples: int = RESAMPLES,
    tolerated: float = 0.0,
) -> Comparison:
    """Of a mean over everything in all units: ``before`` and ``after`` are of the same units in the same order."""
    if before.counts.tolist() != after.counts.tolist():
        raise ValueError("before and after are of other units")
    units = len(before.counts)
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1.0 / units), resamples).astype(np.float64)
    there = draws @ before.counts
    gains = draws @ (after.sums - before.sums) / there
    whole = before.counts.sum()
    told = _comparison(metric, better, before.sums.sum() / whole, after.sums.sum() / whole, gains, units, unit)
    return replace(told, tolerated=tolerated)


def compare_ranks(
    metric: str,
    before: Any,
    after: Any,
    truth: Any,
    *,
    unit: str = "pairs",
    seed: int = 0,
    resamples: int = RANK_RESAMPLES,
) -> Comparison:
    """Of the rank correlation with ``truth``: one value for each independent unit in all three."""
    given, made, wanted = (np.asarray(one, dtype=np.float64) for one in (before, after, truth))
    draws = np.random.default_rng(seed).integers(0, len(wanted), (resamples, len(wanted)))
    gains = np.array([spearman(made[draw], wanted[draw]) - spearman(given[draw], wanted[draw]) for draw in draws])
    # A draw of one value alone has no order.
    gains = gains[np.isfinite(gains)]
    return _comparison(metric, "higher", spearman(given, wanted), spearman(made, wanted), gains, len(wanted), unit)


def _comparison(
    metric: str, better: Better, before: float, after: float, changes: Floats, units: int, unit: str
) -> Comparison:
    towards = 1.0 if better == "higher" else -1.0
    low, high = interval(towards * changes, units)
    gain = towards * (after - before)
    return Comparison(metric, better, float(before), float(after), float(gain), low, high, units, unit)


def interval(gains: Floats, units: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The bounds of ``gains``, each over ``units`` units; not numbers where these are too few, or nothing was drawn.

    The wider of the percentiles and of Student's bounds by the spread of the draws: the first know that a distribution
    leans, the second that no draw of few units goes beyond these. The lower one, on which a claim to be better rests,
    lies further out still (``LEANING``).
    """
    if units < LEAST_UNITS or not len(gains) or not np.isfinite(gains).all():
        return math.nan, math.nan
    apart = math.sqrt(units / (units - 1)) * student(0.5 + confidence / 2.0, units - 1)
    tail = NormalDist().cdf(-apart)
    low, high = np.quantile(gains, (tail, 1.0 - tail))
    middle, spread = gains.mean(), gains.std()
    further = 1.0 + LEANING / units
    return float(min(low, middle - further * apart * spread)), float(max(high, middle + apart * spread))


def student(share: float, freedom: int) -> float:
    """The quantile of Student's distribution above one half, by halving."""
    if freedom >= MANY:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if 0.5 + _between(middle, freedom) / 2.0 < share else (low, middle)
    return low


def _between(t: float, freedom: int) -> float:
    """P(-t < T < t): Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    first = 2 if freedom % 2 else 1
    term, total = (cosine if freedom % 2 else 1.0), 0.0
    for at in range(first, freedom, 2):
        total += term
        term *= cosine * cosine * at / (at + 1)
    if freedom % 2:
        return 2.0 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
