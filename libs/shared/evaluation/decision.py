"""Whether what was trained may be offered: better beyond noise where it should be, and worse nowhere. Pure.

The rule: the interval of the primary metric, and of every other that must improve, lies above no change, and no other
metric's interval lies below what is tolerated of it. So of trainings that change nothing one in forty is accepted at
the most (half of what lies outside a 95 % interval), however many other metrics there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from libs.shared.evaluation.bootstrap import LEAST_UNITS, Comparison

Why = Literal["better", "within_noise", "worse", "another_worse", "too_few", "not_measured"]


@dataclass(frozen=True)
class Verdict:
    """``reason`` is for people, with the numbers that it rests on."""

    accepted: bool
    why: Why
    reason: str
    primary: Comparison
    others: tuple[Comparison, ...] = ()
    also: tuple[Comparison, ...] = ()
    """What must improve beside the primary metric."""


def decide(primary: Comparison, others: Sequence[Comparison] = (), also: Sequence[Comparison] = ()) -> Verdict:
    """On ``primary`` and ``also``, each of which must improve, and ``others``, which must not get worse; the order of
    either means nothing."""
    sorted_others, sorted_also = (tuple(sorted(of, key=lambda one: one.metric)) for of in (others, also))
    why, about = _judged((primary, *sorted_also), sorted_others)
    return Verdict(why == "better", why, _reason(why, about, primary), primary, sorted_others, sorted_also)


def _judged(must: Sequence[Comparison], others: Sequence[Comparison]) -> tuple[Why, Comparison]:
    for one in (*must, *others):
        if one.units < LEAST_UNITS:
            return "too_few", one
        if not all(map(math.isfinite, (one.before, one.after, one.gain, one.low, one.high))):
            return "not_measured", one
    for one in must:
        if one.high < 0.0:
            return "worse", one
    for one in must:
        if one.low <= 0.0:
            return "within_noise", one
    for other in others:
        if other.high < -other.tolerated:
            return "another_worse", other
    return "better", must[0]


def _reason(why: Why, about: Comparison, primary: Comparison) -> str:
    match why:
        case "too_few":
            return (
                f"refused: {about.metric} was measured on {about.units} {about.unit}, and below {LEAST_UNITS} nothing"
                " can be told from chance; rate or allow more"
            )
        case "not_measured":
            return f"refused: {about.metric} came out as no number"
        case "worse":
            return f"refused: {described(about)}, which is worse by more than chance"
        case "within_noise":
            return f"refused: {described(about)}, which may be chance"
        case "another_worse":
            return f"refused: {described(about)}, which is worse by more than chance, though {described(primary)}"
        case "better":
            return f"accepted: {described(about)}, which is better by more than chance"


def described(one: Comparison) -> str:
    """The numbers of a comparison in a row of words."""
    way = "better" if one.gain >= 0.0 else "worse"
    # Bounds read upwards, as the change is told.
    low, high = (one.low, one.high) if one.gain >= 0.0 else (-one.high, -one.low)
    return (
        f"{one.metric} went from {one.before:.4g} to {one.after:.4g} over {one.units} {one.unit}"
        f" ({way} by {abs(one.gain):.3g}, {one.confidence:.0%} interval {low:.3g} to {high:.3g})"
    )
