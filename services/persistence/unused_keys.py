"""Data keys that were handed out and whose turn hasn't come: their slots are taken back after a grace period."""

from __future__ import annotations

from collections.abc import Iterable


class UnusedKeys:
    """Slots by the time they were handed out, on a clock that never jumps (one process's monotonic time)."""

    def __init__(self, slots: Iterable[int] = (), *, now: float = 0.0) -> None:
        self._since = dict.fromkeys(slots, now)

    def __len__(self) -> int:
        return len(self._since)

    def handed_out(self, slot: int, now: float) -> None:
        self._since[slot] = now

    def used(self, slot: int) -> None:
        self._since.pop(slot, None)

    def overdue(self, now: float, grace_s: float) -> frozenset[int]:
        """Slots that have waited longer than the grace period."""
        return frozenset(slot for slot, since in self._since.items() if now - since > grace_s)
