"""Tuning where requests run, by what those of late would have waited when placed otherwise. Pure.

The scheduler replays them by its own code (REPLAY_PLACEMENTS) in every way that is looked at here, which is all that
there is: no searcher is needed. The earlier requests choose, the later ones decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.shared.contracts.replaying_placements import PlacementsReplayed, Way
from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means
from libs.shared.evaluation.decision import decide, described
from services.optimizer.replay.judging import measured
from services.optimizer.tuning.exchange import PlacementJob, Proposal, Tuned

HELD_OUT = 0.4
"""Of the requests, the latest."""
LEAST_BLOCKS = 12
"""On either side."""
NEARER = 0.03
"""Of the seconds that a request takes, another way must save so much where it is chosen: nodes don't work exactly as
they are believed to."""
MOST_LATE = 0.005
"""So many more may take longer than the slowest twentieth does now."""
SECONDS, LATE = "completion_s", "late_share"
Floats = NDArray[np.float64]


def tuned(replayed: PlacementsReplayed, ways: tuple[Way, ...]) -> Tuned:
    """The way in which the earlier requests take least, where the later ones confirm that; ``ways[0]`` is in force."""
    if len(ways) < 2 or len(replayed.ways) != len(ways):
        return Tuned(reason=f"placement: {replayed.reason or 'nothing was replayed'}")
    seconds = [np.array(way.total_s, dtype=np.float64) for way in replayed.ways]
    cut = round(len(replayed.requests) * (1 - HELD_OUT))
    if min(cut, len(replayed.requests) - cut) < LEAST_BLOCKS:
        return Tuned(reason="placement: too few requests came to tell")
    earlier = [float(one[:cut].sum()) for one in seconds]
    best = min(range(len(ways)), key=lambda at: (earlier[at], _apart(ways[at], ways[0])))
    if earlier[best] > earlier[0] * (1 - NEARER):
        return Tuned(reason="placement: no other way saves enough")
    return _decided(replayed, ways, best, cut)


def _apart(one: Way, other: Way) -> float:
    return abs(one.others - other.others)


def change(before: Way, after: Way) -> tuple[str, Any]:
    """The one setting in which they differ."""
    if after.policy != before.policy:
        return "placement_policy", after.policy
    return "placement_others", after.others


def _decided(replayed: PlacementsReplayed, ways: tuple[Way, ...], best: int, cut: int) -> Tuned:
    counts = np.array(replayed.requests[cut:], dtype=np.float64)
    one, other = replayed.ways[0], replayed.ways[best]
    primary = _compared(SECONDS, counts, one.total_s[cut:], other.total_s[cut:])
    late = _compared(LATE, counts, one.late[cut:], other.late[cut:])
    verdict, told = decide(primary, [late]), tuple(measured(each) for each in (primary, late))
    key, value = change(ways[0], ways[best])
    if not verdict.accepted:
        return Tuned(reason=f"{key}: {verdict.reason}")
    slowest = f"19 of 20 within {one.p95_s:.1f} s before and {other.p95_s:.1f} s after"
    before = getattr(ways[0], "policy" if key == "placement_policy" else "others")
    reason = f"{key} {before} → {value}: {described(primary)}; {slowest}, on {replayed.nodes} nodes"[:500]
    return Tuned(reason=reason, proposal=Proposal(key=key, value=value, reason=reason, measured=told))


def _compared(name: str, counts: Floats, before: Any, after: Any) -> Comparison:
    """For each request; a block is what is independent of the others."""
    one, other = (Totals(np.asarray(sums, dtype=np.float64), counts) for sums in (before, after))
    return compare_means(name, one, other, better="lower", unit="blocks", tolerated=MOST_LATE)


def run(body: bytes) -> bytes:
    """The job ``tune_placement``."""
    job = PlacementJob.model_validate_json(body)
    return tuned(job.replayed, job.ways).model_dump_json().encode()
