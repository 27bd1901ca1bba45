"""Tuning how much memory the users' indexes may take: what a miss keeps waiting against what holding more costs. Pure.

One pass over the uses tells every size's hits (``libs/shared/cache/distances.py``), so that every size is looked at and
no searcher is needed. The earlier hours choose, the later ones decide: what a size is for comes after it was set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libs.shared.contracts.caching import CacheCurve, CacheHour
from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means
from libs.shared.evaluation.decision import decide, described
from services.optimizer.replay.judging import measured
from services.optimizer.tuning.exchange import LEAST_HOURS, LEAST_USES, CacheJob, Proposal, Tuned

KEY = "index_memory_mib"
HELD_OUT = 0.4
"""Of the hours, the latest."""
WHOLE_ROOM_S = 0.02
"""What holding all that a cache may take of the machine costs, in seconds of waiting for each use: a quarter of the
machine's memory has to save a fiftieth of a second. Memory that nothing lies in costs nothing."""
NEARER_S = 0.001
"""On the hours that choose, another size must be worth this much more for each use."""
SEEN_LOST = 0.005
"""Of the hits in the hours that choose: what loses more there is not worth asking the later ones about."""
MOST_LOST = 0.01
"""Of the hits, by the lower bound, where less is held."""
COST, HITS, HELD = "index_wait_s", "index_hits", "index_held_mib"


@dataclass(frozen=True)
class Hours:
    """Some hours side by side: uses, hits by size (hours x sizes), and what all together took."""

    uses: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    hits: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    held_mib: np.ndarray[tuple[int, ...], np.dtype[np.float64]]

    @classmethod
    def of(cls, hours: Sequence[CacheHour]) -> Hours:
        return cls(
            np.array([one.uses for one in hours]),
            np.array([one.hits for one in hours]),
            np.array([one.held_mib for one in hours]),
        )

    @property
    def enough(self) -> bool:
        return len(self.uses) >= LEAST_HOURS and float(self.uses.sum()) >= LEAST_USES


def tuned(curve: CacheCurve) -> Tuned:
    """The size that costs least in the earlier hours, where the later ones confirm that."""
    cut = round(len(curve.hours) * (1 - HELD_OUT))
    earlier, later = (Hours.of(some) for some in (curve.hours[:cut], curve.hours[cut:]))
    if not earlier.enough or not later.enough or curve.miss_s is None:
        return Tuned(reason=f"{KEY}: too little was asked to tell")
    before = _place(curve, curve.size_mib)
    uses, hits = earlier.uses.sum(), earlier.hits.sum(axis=0)
    kept = [place for place in range(len(curve.sizes_mib)) if hits[place] >= hits[before] - SEEN_LOST * uses]
    costs = {place: float(cost(curve, earlier, place).sum() / uses) for place in kept}
    best = min(kept, key=lambda place: (costs[place], abs(place - before)))
    if costs[best] > costs[before] - NEARER_S:
        return Tuned(reason=f"{KEY}: no other size is worth more than {curve.size_mib}")
    return _decided(curve, later, before, best)


def cost(curve: CacheCurve, hours: Hours, place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """By hour, in seconds: what misses keep waiting, and what is held meanwhile."""
    waited = (hours.uses - hours.hits[:, place]) * (curve.miss_s or 0.0)
    return waited + hours.uses * WHOLE_ROOM_S * _held(curve, hours, place) / curve.room_mib


def _held(curve: CacheCurve, hours: Hours, place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.minimum(hours.held_mib, curve.sizes_mib[place])


def _place(curve: CacheCurve, size_mib: int) -> int:
    """Of the largest size that is no larger."""
    return max((place for place, one in enumerate(curve.sizes_mib) if one <= size_mib), default=0)


def _decided(curve: CacheCurve, later: Hours, before: int, after: int) -> Tuned:
    primary = _compared(COST, later, *(cost(curve, later, place) for place in (before, after)))
    hits = _compared(HITS, later, *(later.hits[:, place] for place in (before, after)), more=True)
    held = _compared(HELD, later, *(later.uses * _held(curve, later, place) for place in (before, after)))
    verdict, told = decide(primary), tuple(measured(one) for one in (primary, hits, held))
    if not verdict.accepted:
        return Tuned(reason=f"{KEY}: {verdict.reason}")
    if after < before and hits.low < -MOST_LOST:
        return Tuned(reason=f"{KEY}: refused: {described(hits)}, so that more than {MOST_LOST:g} of them may be lost")
    value = curve.sizes_mib[after]
    reason = f"{KEY} {curve.size_mib} → {value}: {described(hits)}; {described(held)}"[:500]
    return Tuned(reason=reason, proposal=Proposal(key=KEY, value=value, reason=reason, measured=told))


def _compared(name: str, hours: Hours, before: object, after: object, *, more: bool = False) -> Comparison:
    """For each use; an hour is what is independent of the others."""
    one, other = (Totals(np.asarray(sums, dtype=np.float64), hours.uses) for sums in (before, after))
    return compare_means(name, one, other, better="higher" if more else "lower", unit="hours")


def run(body: bytes) -> bytes:
    """The job ``tune_cache``."""
    return tuned(CacheJob.model_validate_json(body).curve).model_dump_json().encode()
