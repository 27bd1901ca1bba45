"""Beginning from what another node kept: tried first, believed never. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from libs.shared.contracts.sleep import Tried
from services.optimizer.tuning.space import Point, admitted

MOST_SHARED = 8
"""Points of others that one search begins with: each costs an evaluation."""


@dataclass(frozen=True)
class Kept:
    """A value that another proposed, and by how much it says that it gained: a claim, which only settles an order."""

    value: Any
    gain: float


def kept_in(others: Iterable[Tried], key: str) -> list[Kept]:
    """What others tell of ``key``: only what they found good enough to propose."""
    told = (one for one in others if one.key == key and one.proposed)
    return [Kept(one.value, max((m.after - m.before for m in one.measured), default=0.0)) for one in told]


def start_from(shared: Sequence[Kept], own: Point, most: int = MOST_SHARED) -> tuple[Point, ...]:
    """What a search tries after its own current point, the highest claims first; what can't be weights is left out.

    Whatever was claimed, each is measured on one's own questions before anything comes of it.
    """
    points: list[Point] = []
    for kept in sorted(shared, key=lambda one: -one.gain if isfinite(one.gain) else 0.0):
        point = admitted(kept.value)
        if point is not None and point != own and point not in points:
            points.append(point)
    return tuple(points[:most])
