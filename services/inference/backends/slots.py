"""Which of a model's slots a request takes: that of its own session, or one that nobody has used for longest. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple


class Taken(NamedTuple):
    """A slot, and whether what it has read is the session's own."""

    slot: int
    warm: bool


class Slots:
    """A fixed number of slots, each with the prompt that it read last; not safe for several threads."""

    def __init__(self, count: int) -> None:
        self._free: OrderedDict[int, str | None] = OrderedDict((slot, None) for slot in range(count))

    def take(self, session: str | None) -> Taken:
        """There must be a free one."""
        own = next((slot for slot, whose in self._free.items() if session is not None and whose == session), None)
        slot = next(iter(self._free)) if own is None else own
        del self._free[slot]
        return Taken(slot, warm=own is not None)

    def leave(self, slot: int, session: str | None) -> None:
        """It has read a prompt of ``session``; None: of nobody who may find it again."""
        self._free[slot] = session
        if session is None:
            self._free.move_to_end(slot, last=False)
