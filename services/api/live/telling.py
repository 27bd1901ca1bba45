"""Who listens, and what is told to them: changes of runs, adapters and the ledger, and where runs and sleeps stand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import ADAPTERS_CHANGED, LIST_ADAPTERS, KeptAdapter
from libs.shared.contracts.base import Empty, Message
from libs.shared.contracts.events import Ended, EventType
from libs.shared.contracts.ledger import LEDGER_CHANGED, LIST_CHANGES, SETTINGS, Change, ListChanges
from libs.shared.contracts.material import STANDING_CHANGED
from libs.shared.contracts.sleep import SLEEP_CHANGED, Cycle
from libs.shared.contracts.training import (
    LIST_RUNS,
    RUN_CHANGED,
    RUN_PROGRESSED,
    ListRuns,
    RunProgressed,
    TrainingRun,
)
from libs.shared.errors import Overloaded, Unavailable
from services.api.access import Caller
from services.api.live.events import Happened
from services.api.live.mailbox import Mailbox, Told
from services.api.live.watching import Watch, adapter_changes, ledger_changes, run_changes

MOST_OF_ONE = 8
"""Streams that one caller may have open."""
MOST_KEPT = 256
"""Events that a client which comes again can still be told."""
RETRY_AFTER_S = 30.0
_WATCHED_RUNS = 200
_WATCHED_CHANGES = 100


class Live:
    """The listeners, each with a mailbox. ``boot`` tells this process's ids from those of another."""

    def __init__(self, bus: Bus, *, most: int, boot: str) -> None:
        self._bus = bus
        self._most = most
        self._boot = boot
        self._sequence = 0
        self._mailboxes: set[Mailbox] = set()
        self._kept: deque[tuple[int, Told]] = deque()
        self._forgotten = 0
        """Sequence of the last event that is no longer kept."""
        self._stopped = False
        self._runs = Watch(self._read_runs, run_changes, self.tell)
        self._adapters = Watch(self._read_adapters, adapter_changes, self.tell)
        self._ledger = Watch(self._read_ledger, ledger_changes, self.tell)

    async def start(self) -> None:
        """Hears of everything that it tells. Raises ServiceError."""
        await self._bus.subscribe(RUN_PROGRESSED, self._progressed)
        await self._bus.subscribe(RUN_CHANGED, self._run_changed)
        await self._bus.subscribe(ADAPTERS_CHANGED, self._adapter_changed)
        await self._bus.subscribe(STANDING_CHANGED, self._adapter_changed)
        await self._bus.subscribe(SLEEP_CHANGED, self._slept)
        await self._bus.subscribe(LEDGER_CHANGED, self._ledger_changed)
        await self._bus.bucket(SETTINGS).watch(self._setting_changed)

    async def run(self) -> None:
        """Until cancelled: every stream ends then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._runs.run())
                tasks.create_task(self._adapters.run())
                tasks.create_task(self._ledger.run())
        finally:
            self.stop()

    def stop(self) -> None:
        """Every stream ends, and none begins."""
        self._stopped = True
        for mailbox in self._mailboxes:
            mailbox.end(Ended(reason="stopping"))

    def join(self, caller: Caller, types: Collection[EventType] = (), last_id: str | None = None) -> Mailbox:
        """A listener; ``leave`` has to follow. ``last_id``: what came after it is told first, or that it is unknown.

        Raises Overloaded, Unavailable.
        """
        if self._stopped:
            raise Unavailable("this service is stopping")
        own = sum(one.caller.limited_as == caller.limited_as for one in self._mailboxes)
        if len(self._mailboxes) >= self._most or own >= MOST_OF_ONE:
            raise Overloaded("As many streams of events are open as may be.", retry_after_s=RETRY_AFTER_S)
        mailbox = Mailbox(caller, types)
        if last_id is not None:
            self._catch_up(mailbox, last_id)
        self._mailboxes.add(mailbox)
        return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        self._mailboxes.discard(mailbox)

    def tell(self, event: Happened) -> None:
        """Everybody who listens and may see it."""
        self._sequence += 1
        told = Told(event, f"{self._boot}.{self._sequence}")
        if event.about is None:
            self._kept.append((self._sequence, told))
            if len(self._kept) > MOST_KEPT:
                self._forgotten, _ = self._kept.popleft()
        for mailbox in self._mailboxes:
            mailbox.put(told)

    def _catch_up(self, mailbox: Mailbox, last_id: str) -> None:
        boot, _, number = last_id.rpartition(".")
        known = boot == self._boot and number.isascii() and number.isdigit() and len(number) < 20
        after = int(number) if known else -1
        if not self._forgotten <= after <= self._sequence:
            mailbox.miss("unknown")
            return
        for sequence, told in self._kept:
            if sequence > after:
                mailbox.put(told)

    # ------------------------------------------------------------------ what is heard

    async def _progressed(self, told: RunProgressed) -> None:
        self.tell(Happened(EventType.RUN_PROGRESSED, told, about=told.run_id))

    async def _run_changed(self, _: Message) -> None:
        self._runs.wake()

    async def _adapter_changed(self, _: Message) -> None:
        self._adapters.wake()

    async def _setting_changed(self, _key: str, _value: bytes | None) -> None:
        self._adapters.wake()
        self._ledger.wake()

    async def _ledger_changed(self, _: Message) -> None:
        self._ledger.wake()

    async def _slept(self, told: Cycle) -> None:
        self.tell(Happened(EventType.SLEEP_CHANGED, told, about=told.cycle_id))
        self._ledger.wake()

    async def _read_runs(self) -> Sequence[TrainingRun]:
        return (await self._bus.request(LIST_RUNS, ListRuns(limit=_WATCHED_RUNS))).runs

    async def _read_ledger(self) -> Sequence[Change]:
        return (await self._bus.request(LIST_CHANGES, ListChanges(limit=_WATCHED_CHANGES))).changes

    async def _read_adapters(self) -> Sequence[KeptAdapter]:
        return (await self._bus.request(LIST_ADAPTERS, Empty())).adapters
