"""Beginning from what another node kept: tried first, believed never. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.optimizer.tuning.space import Point, admitted

MOST_SHARED = 8
"""Points of others that one search begins with: each costs an evaluation."""


@dataclass(frozen=True)
class Kept:
    """A setting that a node kept, and by how much it says that it gained: a claim, which only orders what is tried."""

    node: str
    value: Any
    gain: float


def start_from(shared: Sequence[Kept], own: Point, most: int = MOST_SHARED) -> tuple[Point, ...]:
    """What a search tries after its own current point, the highest claims first; what can't be weights is left out.

    One node's claims take turns with the others', so that none crowds them out.
    """
    by_node: dict[str, list[Kept]] = {}
    for kept in sorted(shared, key=lambda one: (-_finite(one.gain), one.node)):
        by_node.setdefault(kept.node, []).append(kept)
    turns = [
        queue[at]
        for at in range(max(map(len, by_node.values()), default=0))
        for queue in by_node.values()
        if at < len(queue)
    ]
    points: list[Point] = []
    for kept in turns:
        point = admitted(kept.value)
        if point is not None and point != own and point not in points:
            points.append(point)
    return tuple(points[:most])


def _finite(gain: float) -> float:
    return gain if abs(gain) < float("inf") else 0.0
