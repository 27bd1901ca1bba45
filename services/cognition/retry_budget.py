"""How many requests may be tried again: a share of all, so that retries never make an overload worse.

As in Finagle's ``RetryBudget`` and Envoy's: every request earns a part of a retry, a few are always allowed, and what
is earned is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

SHARE = 0.2
"""Retries that each first try earns."""
RESERVE_PER_S = 1.0
"""Retries that are earned by time alone: a household that asks once an hour may still try again."""
MOST = 50.0
"""Retries that can be saved up."""


class RetryBudget:
    """One for all requests of a process. Not thread-safe: it belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._saved = MOST

    def earn(self) -> None:
        """A request was tried for the first time."""
        self._saved = min(MOST, self._saved + SHARE)

    def spend(self) -> bool:
        """Whether one may be tried again; if so, it counts."""
        now = self._clock()
        self._saved = min(MOST, self._saved + (now - self._at) * RESERVE_PER_S)
        self._at = now
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
