"""How much slower callers see a model write than its node says: a node may be wrong about itself, or lie. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

NEWEST_WEIGHT = 0.5
MOST = 50.0
HALF_LIFE_S = 60.0
"""Distrust wanes, so that a node which has recovered is tried again; without that it would never be seen to be well."""
FEWEST_TOKENS = 8
"""Fewer say nothing about a pace."""


@dataclass(frozen=True, slots=True)
class Distrust:
    """``factor`` 1: as fast as it says. ``at`` is on the scheduler's monotonic clock, in seconds."""

    factor: float = 1.0
    at: float = 0.0

    def now(self, now: float) -> float:
        """The factor after it has waned."""
        return 1.0 + (self.factor - 1.0) * math.pow(0.5, (now - self.at) / HALF_LIFE_S)


def after(before: Distrust, now: float, *, writing_s: float, tokens: int, s_per_token: float) -> Distrust:
    """The distrust after a caller saw ``tokens`` come in ``writing_s``, where the node says ``s_per_token``."""
    if tokens < FEWEST_TOKENS or writing_s <= 0:
        return before
    seen = min(MOST, max(1.0, writing_s / ((tokens - 1) * s_per_token)))
    return Distrust((1 - NEWEST_WEIGHT) * before.now(now) + NEWEST_WEIGHT * seen, now)
