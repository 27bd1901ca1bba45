"""A verdict as named numbers, as a run keeps them. Pure."""

from __future__ import annotations

import math

from libs.shared.evaluation.decision import Verdict

ACCEPTED = "accepted"
PARTS = ("before", "after", "gain", "low", "high", "units")
"""Of each measure, after its name and a comma; ``gain``, ``low`` and ``high`` are towards the better."""


def figures_of(verdict: Verdict) -> dict[str, float]:
    """``accepted``, and each measure's numbers but for those that are none."""
    told = {ACCEPTED: float(verdict.accepted)}
    for one in (verdict.primary, *verdict.also, *verdict.others):
        told |= {f"{one.metric}, {part}": float(getattr(one, part)) for part in PARTS}
    return {name: value for name, value in told.items() if math.isfinite(value)}
