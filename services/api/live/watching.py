"""Noticing what changes in a list: read when something is announced, and now and then; told is the difference."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from libs.shared.contracts.adapters import InService, KeptAdapter
from libs.shared.contracts.events import AdapterChange, AdapterChanged, EventType
from libs.shared.contracts.ledger import Change
from libs.shared.contracts.training import TrainingRun
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.api.live.events import Happened

REREAD_S = 60.0
"""Announcements are lossy."""
RETRY_S = 1.0
T = TypeVar("T")

log = get_logger(__name__)


class Watch(Generic[T]):
    """Tells what changed since it looked last. Its first look tells nothing."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Sequence[T]]],
        changes: Callable[[Sequence[T], Sequence[T]], Iterator[Happened]],
        tell: Callable[[Happened], None],
    ) -> None:
        self._read = read
        self._changes = changes
        self._tell = tell
        self._before: Sequence[T] | None = None
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something was announced."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait_s = REREAD_S
            self._news.clear()
            try:
                await self.look()
            except ServiceError as error:
                log.debug("list_unread", code=error.code)
                wait_s = RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def look(self) -> None:
        """Raises ServiceError."""
        now = await self._read()
        before, self._before = self._before, now
        for event in self._changes(before, now) if before is not None else ():
            self._tell(event)


def run_changes(before: Sequence[TrainingRun], now: Sequence[TrainingRun]) -> Iterator[Happened]:
    """Runs that are new, or in another state; in the order in which they were asked for. Pure."""
    known = {run.run_id: run.state for run in before}
    for run in sorted(now, key=lambda one: one.created_at):
        if known.get(run.run_id) is not run.state:
            yield Happened(EventType.RUN_CHANGED, run)


def ledger_changes(before: Sequence[Change], now: Sequence[Change]) -> Iterator[Happened]:
    """Entries that are new, or in another state; the oldest first. Pure."""
    known = {change.change_id: change.state for change in before}
    for change in sorted(now, key=lambda one: one.sequence):
        if known.get(change.change_id) is not change.state:
            yield Happened(EventType.CHANGE_CHANGED, change)


def adapter_changes(before: Sequence[KeptAdapter], now: Sequence[KeptAdapter]) -> Iterator[Happened]:
    """What happened to each. Whoever could see it before, or can now, may be told. Pure."""
    old, new = {one.name: one for one in before}, {one.name: one for one in now}
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        users = _users(was, is_now)
        for changed in _changed(name, was, is_now):
            yield Happened(EventType.ADAPTER_CHANGED, changed, users=users)


def _changed(name: str, was: KeptAdapter | None, now: KeptAdapter | None) -> Iterator[AdapterChanged]:
    if now is None:
        yield AdapterChanged(adapter=name, change=AdapterChange.REMOVED)
        return
    if was is None:
        yield AdapterChanged(adapter=name, change=AdapterChange.KEPT)
    else:
        if now.tainted and not was.tainted:
            yield AdapterChanged(adapter=name, change=AdapterChange.TAINTED)
        if (was.owners is None) is not (now.owners is None):
            shared = now.owners is None
            yield AdapterChanged(adapter=name, change=AdapterChange.SHARED if shared else AdapterChange.RESTRICTED)
    yield from _served(name, was.in_service if was is not None else (), now.in_service)


def _served(name: str, was: Sequence[InService], now: Sequence[InService]) -> Iterator[AdapterChanged]:
    answers = {one.role for one in now}
    for one in now:
        if one not in was:
            change = AdapterChange.PROMOTED if one.share >= 1 else AdapterChange.CANARY
            yield AdapterChanged(adapter=name, change=change, role=one.role, share=one.share)
    for one in was:
        if one.role not in answers:
            yield AdapterChanged(adapter=name, change=AdapterChange.ROLLED_BACK, role=one.role, share=0.0)


def _users(was: KeptAdapter | None, now: KeptAdapter | None) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for one in (was, now):
        if one is not None:
            if one.owners is None:
                return None
            found |= frozenset(one.owners)
    return found
