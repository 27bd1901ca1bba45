"""What waits to be told to one client: bounded, and never short of something without saying so."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from libs.shared.contracts.events import Ended, EventType, Lost
from services.api.access import Caller
from services.api.live.events import Happened, may_see

MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its id; None: it can't be asked for again."""

    event: Happened
    event_id: str | None


def lost(reason: str) -> Told:
    """The client is to read the lists again."""
    return Told(Happened(EventType.LOST, Lost.model_validate({"reason": reason}), users=None), None)


class Mailbox:
    """Of what is worthless once there is something newer, the newest alone waits. What doesn't fit even so gives way
    to a ``lost``."""

    def __init__(self, caller: Caller, types: Collection[EventType], most: int = MOST_WAITING) -> None:
        self.caller = caller
        self.ended: Ended | None = None
        self._types = frozenset(types)
        self._most = most
        self._waiting: OrderedDict[str, Told] = OrderedDict()
        self._news = asyncio.Event()
        self._lost: str | None = None

    def put(self, told: Told) -> None:
        """For its client if it asked for such and may see it."""
        event = told.event
        if (self._types and event.type not in self._types) or not may_see(self.caller, event):
            return
        key = f"{event.type}/{event.about}" if event.about is not None else f"#{told.event_id}"
        self._waiting.pop(key, None)
        self._waiting[key] = told
        if len(self._waiting) > self._most:
            self._make_room()
        self._news.set()

    def miss(self, reason: str) -> None:
        """The client missed something."""
        self._lost = reason
        self._news.set()

    def end(self, ended: Ended) -> None:
        """What waits is told first."""
        self.ended = ended
        self._news.set()

    async def wait(self, timeout_s: float) -> list[Told]:
        """What came, a ``lost`` first; nothing after ``timeout_s``, or when it has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()
        missed = [lost(self._lost)] if self._lost is not None else []
        found = [*missed, *self._waiting.values()]
        self._lost = None
        self._waiting.clear()
        return found

    def _make_room(self) -> None:
        worthless = next((key for key, told in self._waiting.items() if told.event.about is not None), None)
        if worthless is not None:
            del self._waiting[worthless]
        else:
            self._waiting.clear()
            self._lost = "slow"
