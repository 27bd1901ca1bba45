"""Accounts and API keys as the api believes them: asked of persistence once, dropped by event, bounded in time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import FIND_KEY, READ_USER, AccountChanged, FindKey, FoundKey, User, UserRef
from libs.shared.credentials import hash_secret
from libs.shared.errors import TimedOut, Unavailable, UserNotFound
from libs.shared.telemetry import metrics

T = TypeVar("T")
_MOST_ENTRIES = 4096


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    read_at: float


class Believed(Generic[T]):
    """A bounded map of what was read from persistence, one read at a time for each name.

    An entry is fresh for ``fresh_s``. After that it is read again, and while persistence can't be asked it is still
    believed for ``grace_s``.
    """

    def __init__(self, name: str, *, fresh_s: float, grace_s: float, clock: Callable[[], float]) -> None:
        self._labels = {"cache.name": name, "cache.layer": "process"}
        self._fresh_s = fresh_s
        self._grace_s = grace_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._reading: dict[str, asyncio.Future[T]] = {}
        self._under_way: set[asyncio.Future[T]] = set()
        """Every read, those included whose result is no longer wanted: the event loop alone would let them go."""

    def fresh(self, name: str) -> T | None:
        """The value, when it needs no asking: the way of nearly every request."""
        entry = self._entries.get(name)
        if entry is None or self._clock() - entry.read_at > self._fresh_s:
            metrics.CACHE_MISSES.add(1, self._labels)
            return None
        metrics.CACHE_HITS.add(1, self._labels)
        return entry.value

    async def read(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        """The value, from ``read`` unless another caller is reading it already. Raises what ``read`` raises."""
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = asyncio.ensure_future(self._read(name, read))
            self._under_way.add(reading)
            reading.add_done_callback(lambda done: self._finished(name, done))
        try:
            return await asyncio.shield(reading)
        except (Unavailable, TimedOut):
            entry = self._entries.get(name)
            if entry is None or self._clock() - entry.read_at > self._fresh_s + self._grace_s:
                raise
            return entry.value

    def drop(self, belongs: Callable[[str, T], bool]) -> None:
        """Forgets every entry that ``belongs``, and what is being read now."""
        self._reading.clear()
        for name in [n for n, entry in self._entries.items() if belongs(n, entry.value)]:
            del self._entries[name]

    async def _read(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        me = asyncio.current_task()
        value = await read()
        if self._reading.get(name) is me:  # otherwise it was dropped meanwhile, and what was read may be old
            self._entries[name] = _Entry(value, self._clock())
            self._entries.move_to_end(name)
            if len(self._entries) > _MOST_ENTRIES:
                self._entries.popitem(last=False)
        return value

    def _finished(self, name: str, done: asyncio.Future[T]) -> None:
        self._under_way.discard(done)
        if self._reading.get(name) is done:
            del self._reading[name]
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may be left to wait


class Accounts:
    """Who a key or a session belongs to, now."""

    def __init__(self, bus: Bus, *, fresh_s: float, grace_s: float, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._keys: Believed[FoundKey] = Believed("api_keys", fresh_s=fresh_s, grace_s=grace_s, clock=clock)
        self._users: Believed[User | None] = Believed("accounts", fresh_s=fresh_s, grace_s=grace_s, clock=clock)

    async def key(self, secret: str) -> FoundKey:
        """The key with its owner, both None when there is none. Raises Unavailable."""
        hashed = hash_secret(secret)
        found = self._keys.fresh(hashed)
        if found is None:
            found = await self._keys.read(hashed, lambda: self._bus.request(FIND_KEY, FindKey(hash=hashed)))
        return found

    async def user(self, user_id: str) -> User | None:
        """The account, None when it is gone. Raises Unavailable."""
        found = self._users.fresh(user_id)
        return found if found is not None else await self._users.read(user_id, lambda: self._read_user(user_id))

    async def forget(self, changed: AccountChanged) -> None:
        """Drops what is believed of the user, and of the key."""
        self._keys.drop(
            lambda hashed, found: (
                hashed == changed.key_hash or found.user is None or found.user.user_id == changed.user_id
            )
        )
        self._users.drop(lambda user_id, _: user_id == changed.user_id)

    async def _read_user(self, user_id: str) -> User | None:
        try:
            return await self._bus.request(READ_USER, UserRef(user_id=user_id))
        except UserNotFound:
            return None
