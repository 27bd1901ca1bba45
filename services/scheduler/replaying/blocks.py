"""What each way made requests wait, in blocks of those that came one after another. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from libs.shared.contracts.replaying_placements import MOST_BLOCKS, PlacementsReplayed, WayBlocks
from services.scheduler.replaying.exchange import Replayed

BLOCK = 20
"""Requests: those within wait for one another, those of two blocks seldom."""
LATE_SHARE = 0.05


def in_blocks(found: Replayed, nodes: int) -> PlacementsReplayed:
    """The first way is the one in force: late is what is slower than its slowest twentieth."""
    placed = [at for at in range(len(found.seconds[0])) if all(way[at] is not None for way in found.seconds)]
    ways = [[float(way[at] or 0.0) for at in placed] for way in found.seconds]
    starts = range(0, min(len(placed) // BLOCK, MOST_BLOCKS) * BLOCK, BLOCK)
    if not starts:
        return PlacementsReplayed(nodes=nodes, reason="too few requests came")
    limit = _p95(ways[0])
    return PlacementsReplayed(
        requests=(BLOCK,) * len(starts), ways=tuple(_blocks(way, starts, limit) for way in ways), nodes=nodes
    )


def _blocks(seconds: Sequence[float], starts: range, limit: float) -> WayBlocks:
    parts = [seconds[start : start + BLOCK] for start in starts]
    return WayBlocks(
        total_s=tuple(sum(part) for part in parts),
        late=tuple(sum(one > limit for one in part) for part in parts),
        p95_s=_p95(seconds),
    )


def _p95(seconds: Sequence[float]) -> float:
    ranked = sorted(seconds)
    return ranked[min(len(ranked) - 1, int((1 - LATE_SHARE) * len(ranked)))]
