"""The layer of a cache that an installation's processes share: a key-value bucket, passed over while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from libs.shared.bus.base import Entry, KeyValue
from libs.shared.contracts.base import KIB, Message
from libs.shared.errors import Forbidden, StorageFull, TimedOut, Unavailable
from libs.shared.telemetry import get_logger, metrics

M = TypeVar("M", bound=Message)
PATIENCE_S = 0.5
"""What an answer of the bucket may take: longer would cost more than loading the value."""
PAUSE_S = 1.0
"""How long the bucket is not asked after it failed."""
LARGEST_BYTES = 16 * KIB
_CLOCKS_DIFFER_S = 5.0
"""Of two machines, or of one before and after a small correction."""
_AWAY = (Unavailable, TimedOut, StorageFull, Forbidden, TimeoutError)
"""What says that the bucket can't serve now; anything else is a fault of ours."""

log = get_logger(__name__)


class _Kept(Message, Generic[M]):
    """An entry on the wire. ``expires_at`` is in seconds since 1970."""

    expires_at: float
    value: M


@dataclass(frozen=True)
class Found(Generic[M]):
    """What the bucket said about a key."""

    value: M | None = None
    ttl_s: float = 0.0
    """How much longer the value holds."""
    revision: int | None = None
    """For ``keep``; None: the bucket could not be asked."""


class SharedLayer(Generic[M]):
    """Values of one model, each for ``ttl_s`` seconds; the bucket's contract bounds their number and bytes.

    ``name`` is one of ``metrics.CACHE``'s. ``clock`` tells seconds since 1970, which machines have in common.
    """

    def __init__(
        self,
        name: str,
        bucket: KeyValue,
        model: type[M],
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
        pause_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = bucket
        self._model: type[_Kept[M]] = _Kept[model]  # type: ignore[valid-type]
        self._ttl_s, self._clock, self._pause_clock = ttl_s, clock, pause_clock
        self._away_until = float("-inf")
        self._labels = {"cache.name": name, "cache.layer": "kv"}

    async def find(self, key: str) -> Found[M]:
        """Never raises: what can't be asked for or read is a miss."""
        entry = await self._asked(key)
        found = Found[M]() if entry is None else self._read(entry)
        counter = metrics.CACHE_MISSES if found.value is None else metrics.CACHE_HITS
        counter.add(1, self._labels)
        return found

    async def keep(self, key: str, value: M, revision: int | None) -> None:
        """Keeps what was loaded after ``find`` told the revision, unless the key changed or was discarded since.

        Without that condition, a load that began before a discard could bring back afterwards what it had read before.
        """
        body = self._model(expires_at=self._clock() + self._ttl_s, value=value).model_dump_json().encode()
        if revision is None or len(body) > LARGEST_BYTES:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._bucket.update(key, body, revision)
        except _AWAY as error:
            self._pause(error)

    async def discard(self, key: str) -> None:
        """Forgets ``key``, and keeps no load of it that is under way anywhere. Raises Unavailable.

        It asks even in a pause: an entry that should go is worth the wait.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._bucket.delete(key)
        except _AWAY as error:
            self._pause(error)
            raise Unavailable("a cache entry could not be discarded") from None
        self._count_eviction("invalidated")

    async def _asked(self, key: str) -> Entry | None:
        if self._pause_clock() < self._away_until:
            metrics.CACHE_SKIPPED.add(1, self._labels)
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._bucket.read(key)
        except _AWAY as error:
            self._pause(error)
            metrics.CACHE_SKIPPED.add(1, self._labels)
            return None

    def _read(self, entry: Entry) -> Found[M]:
        absent = Found[M](revision=entry.revision)
        if entry.value is None:
            return absent
        try:
            kept = self._model.model_validate_json(entry.value)
        except ValidationError:
            return absent  # another release wrote it
        left_s = kept.expires_at - self._clock()
        if left_s <= 0 or left_s > self._ttl_s + _CLOCKS_DIFFER_S:  # the latter: a clock was set back since
            self._count_eviction("expired")
            return absent
        return Found(kept.value, min(left_s, self._ttl_s), entry.revision)

    def _pause(self, error: Exception) -> None:
        self._away_until = self._pause_clock() + PAUSE_S
        log.info("shared_cache_away", reason=getattr(error, "code", "timed_out"))

    def _count_eviction(self, reason: str) -> None:
        metrics.CACHE_EVICTIONS.add(1, {**self._labels, "cache.eviction.reason": reason})
