"""How many replicas a model should have, from the queues that its replicas tell Ray Serve of.

Serve counts requests that cross its handles, and none does: by its own counts every replica would be idle, and busy
ones would be taken away. Pure, and of the standard library alone: Serve's controller runs ``by_queue``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LOAD = "mongars_load"
"""Requests at a replica, at work and waiting."""
SLOTS = "mongars_slots"
"""Requests that it works on at the same time."""


def replicas_for(loads: Mapping[Any, float], slots: Mapping[Any, float], current: int) -> int:
    """So many that none waits. ``loads`` and ``slots``: replica → what it told; ``current``: how many there are.

    One that tells nothing, because it starts or is too busy, is no reason to have fewer.
    """
    each = max(1.0, sum(slots.values()) / len(slots)) if slots else 1.0
    wanted = math.ceil(sum(loads.values()) / each)
    return wanted if len(loads) >= current else max(wanted, current)


def by_queue(context: Any) -> tuple[int, dict[str, Any]]:
    """For ``AutoscalingConfig(policy=…)``, which adds its own delays and bounds; ``context``: AutoscalingContext."""
    told = context.aggregated_metrics or {}
    wanted = replicas_for(told.get(LOAD, {}), told.get(SLOTS, {}), context.target_num_replicas)
    return wanted, {}
