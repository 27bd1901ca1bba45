"""Stores of files inside the process, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime
from secrets import token_hex

from libs.shared.bus.base import ObjectAbout
from libs.shared.bus.objects import checked_name, in_parts
from libs.shared.contracts.base import ObjectStore
from libs.shared.errors import ArtefactCorrupt, StorageFull


class MemoryObjects:
    """One store, which all connections share."""

    def __init__(self, declared: ObjectStore) -> None:
        self._declared = declared
        self.parts: dict[str, list[bytes]] = {}
        """By the id of their putting."""
        self._abouts: dict[str, ObjectAbout] = {}

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> ObjectAbout:
        checked_name(name)
        parts: list[bytes] = []
        async for part in in_parts(pieces):
            parts.append(part)
            if self._size() + sum(map(len, parts)) > self._declared.max_bytes:
                raise StorageFull("the stream is full, or the disk is")
        before, whole = self._abouts.get(name), b"".join(parts)
        digest = hashlib.sha256(whole).hexdigest()
        about = ObjectAbout(name, len(whole), digest, token_hex(11), len(parts), datetime.now(UTC))
        self._abouts[name], self.parts[about.nuid] = about, parts
        if before is not None:
            self.parts.pop(before.nuid, None)
        return about

    async def about(self, name: str) -> ObjectAbout | None:
        return self._abouts.get(checked_name(name))

    async def get(self, name: str) -> AsyncIterator[bytes]:
        about = await self.about(name)
        if about is None:
            return
        parts = list(self.parts.get(about.nuid, ()))
        for part in parts:
            yield part
        whole = b"".join(parts)
        if len(whole) != about.size or hashlib.sha256(whole).hexdigest() != about.sha256:
            raise ArtefactCorrupt("an object is not what was put")

    async def list(self) -> tuple[ObjectAbout, ...]:
        return tuple(self._abouts[name] for name in sorted(self._abouts))

    async def delete(self, name: str) -> None:
        about = self._abouts.pop(checked_name(name), None)
        if about is not None:
            self.parts.pop(about.nuid, None)

    async def free_bytes(self) -> int:
        return self._declared.max_bytes - self._size()

    async def sweep(self, older_than_s: float) -> int:
        known = {about.nuid for about in self._abouts.values()}
        lost = [nuid for nuid in self.parts if nuid not in known]
        for nuid in lost:
            del self.parts[nuid]
        return len(lost)

    def _size(self) -> int:
        return sum(len(part) for parts in self.parts.values() for part in parts)
