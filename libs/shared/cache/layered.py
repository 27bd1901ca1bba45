"""A cache of two layers: this process, then what all processes share, then whoever knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from libs.shared.cache.process import TtlCache
from libs.shared.cache.shared import SharedLayer
from libs.shared.contracts.base import Message
from libs.shared.errors import Unavailable
from libs.shared.telemetry import get_logger

M = TypeVar("M", bound=Message)

log = get_logger(__name__)


class LayeredCache(Generic[M]):
    """A key that is being looked for is looked for once by a process, through both layers.

    A value that comes from the shared layer keeps the time that it has left. None (there is no such thing) is kept by
    the process alone: what strangers ask for would fill what everyone shares.
    """

    def __init__(self, process: TtlCache[str, M | None], shared: SharedLayer[M]) -> None:
        self._process, self._shared = process, shared
        self._discards = 0

    async def get(self, key: str, load: Callable[[], Coroutine[Any, Any, M | None]]) -> M | None:
        """The value kept for ``key`` by either layer, or what ``load()`` returns. Raises as ``load``."""
        return await self._process.get_for(key, lambda: self._through(key, load))

    async def discard(self, key: str) -> None:
        """Forgets ``key`` in both layers; one that can't be reached keeps it for the rest of its time."""
        self._discards += 1
        self._process.discard(key)
        await self._discard_shared(key)

    async def discard_where(self, condition: Callable[[M | None], bool]) -> None:
        """Forgets the process's values that meet ``condition``, in both layers, and every load under way."""
        self._discards += 1
        gone = self._process.discard_where(condition)
        await asyncio.gather(*(self._discard_shared(key) for key, value in gone if value is not None))

    async def _through(self, key: str, load: Callable[[], Coroutine[Any, Any, M | None]]) -> tuple[M | None, float]:
        discards = self._discards
        found = await self._shared.find(key)
        if found.value is not None:
            return found.value, found.ttl_s
        value = await load()
        if value is not None and discards == self._discards:
            await self._shared.keep(key, value, found.revision)
        return value, self._process.ttl_s

    async def _discard_shared(self, key: str) -> None:
        try:
            await self._shared.discard(key)
        except Unavailable:
            log.warning("shared_cache_entry_left")
