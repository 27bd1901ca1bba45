"""How often one address may fail before it is told to wait. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque

MOST = 10
WITHIN_S = 60.0
_ADDRESSES = 1024
"""Remembered at most: nobody fills the memory by coming from many."""


class Attempts:
    """Failures of the last minute by address; every time is in seconds of one clock."""

    def __init__(self, most: int = MOST, within_s: float = WITHIN_S) -> None:
        self._most = most
        self._within_s = within_s
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """Seconds until ``address`` may try again; 0 when it may now."""
        failures = self._failed.get(address)
        if failures is None or len(failures) < self._most:
            return 0.0
        return max(0.0, failures[0] + self._within_s - now)

    def failed(self, address: str, now: float) -> None:
        """Counts a failure."""
        failures = self._failed.setdefault(address, deque(maxlen=self._most))
        failures.append(now)
        self._failed.move_to_end(address)
        if len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)
