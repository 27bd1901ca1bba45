"""A bounded cache inside one process: entries expire, and a key that is being loaded is loaded once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from libs.shared.errors import TimedOut, Unavailable
from libs.shared.telemetry import metrics

AWAY = (Unavailable, TimedOut)
"""What says that a value could not be asked for, and nothing about the value."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class _Entry(Generic[V]):
    value: V
    expires_at: float
    size: int


@dataclass
class _Load(Generic[V]):
    """Under way to a value and the seconds for which it holds."""

    task: asyncio.Task[tuple[V, float]]
    waiting: int = 0


class TtlCache(Generic[K, V]):
    """At most ``max_entries`` values, each for ``ttl_s`` seconds; the least recently used leaves first.

    With ``max_bytes`` the values also have at most so many bytes, by ``size_of``; a larger one is not kept.
    With ``grace_s`` an older value is loaded again, and still answers for so long while loading it raises one of
    ``AWAY``. ``name`` is one of ``metrics.CACHE``'s. Belongs to one event loop.
    """

    def __init__(
        self,
        name: str,
        *,
        max_entries: int,
        ttl_s: float,
        grace_s: float = 0.0,
        max_bytes: int | None = None,
        size_of: Callable[[V], int] = lambda _: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1 or ttl_s <= 0:
            raise ValueError("a cache needs room for one entry and a time to live")
        self.ttl_s = ttl_s
        self._max_entries, self._grace_s, self._clock = max_entries, grace_s, clock
        self._max_bytes, self._size_of, self._bytes = max_bytes, size_of, 0
        self._entries: dict[K, _Entry[V]] = {}
        self._loads: dict[K, _Load[V]] = {}
        self._labels = {"cache.name": name, "cache.layer": "process"}

    def __len__(self) -> int:
        return len(self._entries)

    def _kept(self, key: K, *, grace_s: float) -> _Entry[V] | None:
        entry = self._entries.get(key)
        return entry if entry is not None and self._clock() < entry.expires_at + grace_s else None

    async def get(self, key: K, load: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The value kept for ``key``, or what ``load()`` returns; its errors reach every waiter and are not kept."""

        async def loaded() -> tuple[V, float]:
            return await load(), self.ttl_s

        return await self.get_for(key, loaded)

    async def get_for(self, key: K, load: Callable[[], Coroutine[Any, Any, tuple[V, float]]]) -> V:
        """As ``get``; ``load()`` also tells for how many seconds its value holds."""
        entry = self._kept(key, grace_s=0.0)
        if entry is not None:
            self._entries[key] = self._entries.pop(key)  # last again: the order of the dict is the order of use
            metrics.CACHE_HITS.add(1, self._labels)
            return entry.value
        metrics.CACHE_MISSES.add(1, self._labels)
        self._expire(key)
        try:
            return await self._wait_for(key, load)
        except AWAY:
            stale = self._kept(key, grace_s=self._grace_s)
            if stale is None:
                raise
            return stale.value

    def _expire(self, key: K) -> None:
        if key in self._entries and self._kept(key, grace_s=self._grace_s) is None:
            self._remove(key)
            self._count_eviction("expired")

    async def _wait_for(self, key: K, load: Callable[[], Coroutine[Any, Any, tuple[V, float]]]) -> V:
        flight = self._loads.get(key)
        if flight is None:
            flight = self._loads[key] = _Load(asyncio.create_task(load()))
        flight.waiting += 1
        try:
            value, _ = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            self._land(key, flight)
        return value

    def _land(self, key: K, flight: _Load[V]) -> None:
        """Keeps a finished load, unless it was discarded under way; ends one that nobody waits for."""
        if not flight.task.done():
            if flight.waiting == 0:
                flight.task.cancel()
                self._forget(key, flight)
            return
        if self._forget(key, flight) and not flight.task.cancelled() and flight.task.exception() is None:
            value, ttl_s = flight.task.result()
            self.put(key, value, ttl_s=ttl_s)

    def _forget(self, key: K, flight: _Load[V]) -> bool:
        if self._loads.get(key) is not flight:
            return False
        del self._loads[key]
        return True

    def put(self, key: K, value: V, *, ttl_s: float | None = None) -> None:
        """Keeps ``value`` from now on, for the cache's time or for ``ttl_s``."""
        self._remove(key)
        size = self._size_of(value)
        if self._max_bytes is not None and size > self._max_bytes:
            return
        while self._entries and not self._has_room(size):
            self._remove(next(iter(self._entries)))
            self._count_eviction("full")
        expires_at = self._clock() + (self.ttl_s if ttl_s is None else ttl_s)
        self._entries[key] = _Entry(value, expires_at, size)
        self._bytes += size

    def _has_room(self, size: int) -> bool:
        full = self._max_bytes is not None and self._bytes + size > self._max_bytes
        return len(self._entries) < self._max_entries and not full

    def _remove(self, key: K) -> bool:
        entry = self._entries.pop(key, None)
        self._bytes -= 0 if entry is None else entry.size
        return entry is not None

    def take(self, key: K) -> V | None:
        """The value kept for ``key``, which is forgotten by that; None: there is none."""
        entry = self._kept(key, grace_s=0.0)
        (metrics.CACHE_MISSES if entry is None else metrics.CACHE_HITS).add(1, self._labels)
        self._expire(key)
        self._remove(key)
        return None if entry is None else entry.value

    def discard(self, key: K) -> None:
        """Forgets ``key``; a load of it that is under way answers its waiters and is not kept."""
        self._loads.pop(key, None)
        if self._remove(key):
            self._count_eviction("invalidated")

    def discard_where(self, condition: Callable[[V], bool]) -> list[tuple[K, V]]:
        """Forgets the values that meet ``condition``, and every load under way, since its value is not known yet."""
        self._loads.clear()
        found = [(key, entry.value) for key, entry in self._entries.items() if condition(entry.value)]
        for key, _ in found:
            self.discard(key)
        return found

    def clear(self) -> None:
        """Forgets everything."""
        self.discard_where(lambda _: True)

    def _count_eviction(self, reason: str) -> None:
        metrics.CACHE_EVICTIONS.add(1, {**self._labels, "cache.eviction.reason": reason})
