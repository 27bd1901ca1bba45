"""The size of the indexes' memory, tuned on earlier hours; what comes of it on later ones, by simulating the cache.

Who asks when is invented (three kinds of installation, drawn from a seed); what is measured is the product's own curve,
decision and bounds. The truth is a cache of that size, simulated use by use, and not the curve.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from libs.shared.cache.curves import HOUR_S, UseCurve, steps_to
from libs.shared.cache.distances import StackDistances
from libs.shared.contracts.caching import CacheCurve
from services.optimizer.tuning.caches import HELD_OUT, WHOLE_ROOM_S, tuned

MIB = 1024 * 1024
DELIVERED_MIB, LEAST_MIB, ROOM_MIB = 256, 16, 2048
DAYS, SEEDS = 10, (1, 2, 3)
STARTS = (LEAST_MIB, 64, DELIVERED_MIB, ROOM_MIB)


@dataclass(frozen=True)
class Place:
    """People, each with an index of so many MiB in the median, of whom so many come in a busy hour; bringing an index
    in takes ``miss_s``."""

    name: str
    people: int
    median_mib: float
    coming: float
    miss_s: float


PLACES = (
    Place("household", 4, 12.0, 1.5, 0.1),
    Place("office", 60, 8.0, 12.0, 0.08),
    Place("school", 800, 2.0, 80.0, 0.03),
)


@dataclass(frozen=True)
class Use:
    at_s: float
    who: str
    nbytes: int


@dataclass(frozen=True)
class CacheRun:
    """One size to begin with. Costs are milliseconds for each use in the later hours, by simulation: of the size in
    force, of what is proposed, of the delivered one, of the best there is."""

    place: str
    seed: int
    start_mib: int
    value_mib: int
    proposed: bool
    hits: tuple[float, float]
    before: float
    after: float
    delivered: float
    best: float
    reason: str


def uses(place: Place, seed: int) -> list[Use]:
    """Some people come every day, others now and then (by Zipf's law), by day more than by night; each asks a few
    times within an hour."""
    chance = random.Random(seed)
    sizes = [int(chance.lognormvariate(0.0, 0.6) * place.median_mib * MIB) for _ in range(place.people)]
    often = [1.0 / (rank + 1) ** 0.8 for rank in range(place.people)]
    found = []
    for hour in range(24 * DAYS):
        busy = 1.0 if 8 <= hour % 24 < 20 else 0.2
        for _ in range(_poisson(chance, place.coming * busy)):
            who = chance.choices(range(place.people), often)[0]
            for _ in range(chance.randint(1, 8)):
                found.append(Use((hour + chance.random()) * HOUR_S, f"user-{who}", sizes[who]))
    return sorted(found, key=lambda one: one.at_s)


def _poisson(chance: random.Random, mean: float) -> int:
    count, left = 0, chance.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1.0)
    return count


def curve_of(asked: Sequence[Use], place: Place, size_mib: int) -> CacheCurve:
    """As persistence tells it."""
    kept = UseCurve(steps_to(ROOM_MIB, LEAST_MIB), StackDistances(salt=b"bench"))
    for one in asked:
        kept.used(one.who, one.nbytes, one.at_s)
    return CacheCurve(
        sizes_mib=tuple(kept.sizes_mib), hours=kept.hours, size_mib=size_mib, room_mib=ROOM_MIB, miss_s=place.miss_s
    )


def simulated(asked: Sequence[Use], since_s: float, place: Place, size_mib: int) -> tuple[float, float]:
    """(share of uses that find their index in memory, milliseconds that a use costs), from ``since_s`` on."""
    cache: OrderedDict[str, int] = OrderedDict()
    held = hits = count = holding = 0
    for one in asked:
        hit = one.who in cache
        held += 0 if hit else one.nbytes
        cache[one.who] = one.nbytes
        cache.move_to_end(one.who)
        while held > size_mib * MIB and len(cache) > 1:
            held -= cache.popitem(last=False)[1]
        if one.at_s >= since_s:
            hits, count, holding = hits + hit, count + 1, holding + held
    waited_s = (1 - hits / count) * place.miss_s
    return hits / count, 1000 * (waited_s + WHOLE_ROOM_S * holding / count / (ROOM_MIB * MIB))


def caches(seeds: Sequence[int] = SEEDS) -> list[CacheRun]:
    """Every place from every size."""
    return [run for place in PLACES for seed in seeds for run in _runs(place, seed)]


def _runs(place: Place, seed: int) -> list[CacheRun]:
    asked = uses(place, seed)
    told = curve_of(asked, place, DELIVERED_MIB)
    later_s = sorted({int(one.at_s // HOUR_S) for one in asked})[round(len(told.hours) * (1 - HELD_OUT))] * HOUR_S
    truth = {size: simulated(asked, later_s, place, size) for size in told.sizes_mib}
    runs = []
    for start in STARTS:
        outcome = tuned(told.model_copy(update={"size_mib": start}))
        value = start if outcome.proposal is None else int(outcome.proposal.value)
        runs.append(
            CacheRun(
                place=place.name,
                seed=seed,
                start_mib=start,
                value_mib=value,
                proposed=outcome.proposal is not None,
                hits=(truth[start][0], truth[value][0]),
                before=truth[start][1],
                after=truth[value][1],
                delivered=truth[DELIVERED_MIB][1],
                best=min(cost for _, cost in truth.values()),
                reason=outcome.reason,
            )
        )
    return runs
