"""How many workers there should be, and why. Pure: loads, bounds, room and the time are arguments.

As many as bring what is used of each to ``AIM`` (Kubernetes' own rule for a HorizontalPodAutoscaler: wanted = now *
used / aim), with two thresholds that lie apart from each other, a time that either has to last, and a rest after each
change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.optimizer.scaling.base import Count

AIM = 0.6
BUSY = 0.75
"""Of what a worker can do: above it there are too few."""
IDLE = 0.5
"""Below it, were there one fewer, there are too many."""
MORE_AFTER_S = 15.0
"""So long they have to be busy without a pause."""
FEWER_AFTER_S = 300.0
MORE_REST_S = 60.0
"""After a change, until there may be more of them."""
FEWER_REST_S = 600.0
UNDONE_REST_S = 3600.0
"""After one that was undone."""
LOOK_EVERY_S = 5.0
_FEWEST_LOOKS = 0.6
"""Of those that a window should hold."""


@dataclass(frozen=True)
class Load:
    """One look at the workers of a name."""

    at_s: float
    busy: float
    """Mean share of what a worker can do; above 1 where requests wait for one."""
    waits: bool = False
    """Requests were refused, or waited for want of a worker."""


@dataclass(frozen=True)
class Room:
    """For how many more there is room; ``said``: why not for more."""

    workers: int
    said: str = ""


@dataclass(frozen=True)
class Standing:
    """What went before."""

    changed_s: float | None = None
    """When the count was last changed, by whomever."""
    undone: bool = False
    """That change was rolled back."""


@dataclass(frozen=True)
class Decision:
    """``count``: as many as there should be; what there is, where nothing is to be done."""

    count: int
    reason: str


def decide(count: Count, loads: Sequence[Load], room: Room, standing: Standing, now_s: float) -> Decision:
    """``loads``: oldest first, of late."""
    if count.autoscaled:
        return Decision(count.wanted, "an autoscaler decides how many there are")
    if count.wanted > count.most:
        return Decision(count.most, f"no more than {count.most} are allowed")
    if count.wanted < count.least:
        return _below(count, loads, now_s)
    if count.running != count.wanted:
        return Decision(count.wanted, f"{count.running} of {count.wanted} run: what was asked for isn't there yet")
    more = _more(count, loads, room, now_s)
    if more.count > count.wanted:
        return _rested(count, more, standing, now_s, MORE_REST_S)
    fewer = _fewer(count, loads, now_s)
    if fewer.count < count.wanted:
        return _rested(count, fewer, standing, now_s, FEWER_REST_S)
    return more if more.reason else fewer


def _below(count: Count, loads: Sequence[Load], now_s: float) -> Decision:
    """Somebody set so few: that holds until somebody else finds nobody there."""
    if loads and loads[-1].waits and now_s - loads[-1].at_s <= MORE_AFTER_S:
        return Decision(count.least, f"requests find too few of them: {count.least} instead of {count.wanted}")
    return Decision(count.wanted, f"fewer than {count.least}, as somebody set it")


def _more(count: Count, loads: Sequence[Load], room: Room, now_s: float) -> Decision:
    looks = _window(loads, now_s, MORE_AFTER_S)
    if not looks or not all(look.waits or look.busy > BUSY for look in looks):
        return Decision(count.wanted, "")
    used = sum(look.busy for look in looks) / len(looks)
    aimed = min(math.ceil(count.wanted * used / AIM), 2 * count.wanted)
    wanted = min(max(aimed, count.wanted + 1), count.most, count.wanted + max(0, room.workers))
    said = f"used to {used:.0%} for {MORE_AFTER_S:.0f} s" + (", and requests wait" if looks[-1].waits else "")
    if wanted > count.wanted:
        return Decision(wanted, f"{said}: {wanted} instead of {count.wanted}")
    bound = f"no more than {count.most} are allowed" if count.wanted >= count.most else room.said
    return Decision(count.wanted, f"{said}, but {bound}")


def _fewer(count: Count, loads: Sequence[Load], now_s: float) -> Decision:
    if count.wanted <= count.least:
        return Decision(count.wanted, f"no fewer than {count.least} are allowed")
    looks = _window(loads, now_s, FEWER_AFTER_S)
    if not looks:
        return Decision(count.wanted, "too little is known of the load yet")
    left = count.wanted - 1
    busiest = max(look.busy for look in looks)
    if any(look.waits for look in looks) or busiest * count.wanted / left > IDLE:
        return Decision(count.wanted, f"used to {busiest:.0%} at most")
    said = f"used to {busiest:.0%} at most for {FEWER_AFTER_S / 60:.0f} minutes"
    return Decision(left, f"{said}: {left} instead of {count.wanted}")


def _rested(count: Count, found: Decision, standing: Standing, now_s: float, rest_s: float) -> Decision:
    rest_s = UNDONE_REST_S if standing.undone else rest_s
    left_s = rest_s - (now_s - standing.changed_s) if standing.changed_s is not None else 0.0
    if left_s <= 0:
        return found
    after = "the last change was undone" if standing.undone else "the count was just changed"
    return Decision(count.wanted, f"{found.reason}; in {left_s:.0f} s, since {after}")


def _window(loads: Sequence[Load], now_s: float, length_s: float) -> list[Load]:
    """Those of the last ``length_s``; none where they don't cover it."""
    within = [load for load in loads if now_s - length_s <= load.at_s <= now_s]
    covered = bool(loads) and loads[0].at_s <= now_s - length_s
    return within if covered and len(within) >= _FEWEST_LOOKS * length_s / LOOK_EVERY_S else []
