"""Persistence as a node sees it: adapters that it keeps, signed, with the files of one folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.artefacts.manifests import public_key, sign
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import (
    ADAPTERS_CHANGED,
    LIST_ADAPTERS,
    READ_ADAPTER_FILE,
    AdapterPiece,
    Adapters,
    AdaptersChanged,
    ArtefactFile,
    BaseModelOf,
    KeptAdapter,
    Manifest,
    ReadAdapterFile,
)
from libs.shared.contracts.base import Empty

SEED = b"s" * 32
PIECE = 256 * 1024


class KeptAdapters:
    """``kept`` by name; while ``stalls`` is clear, a file stops after its first hundred bytes."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.kept: dict[str, KeptAdapter] = {}
        self.asked: list[str] = []
        self.stalls = asyncio.Event()
        self.stalls.set()

    async def serve(self, persistence: Bus) -> None:
        await persistence.serve(LIST_ADAPTERS, self.list)
        await persistence.serve_stream(READ_ADAPTER_FILE, self.read)

    async def tell(self, persistence: Bus, name: str) -> None:
        await persistence.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter=name))

    def keep(self, name: str, *, seed: bytes = SEED, owners: tuple[str, ...] | None = None) -> Manifest:
        manifest = self.manifest(name, owners)
        self.kept[name] = KeptAdapter(name=name, signed=sign(seed, manifest), manifest=manifest, owners=owners)
        return manifest

    def manifest(self, name: str, owners: tuple[str, ...] | None = None) -> Manifest:
        files = tuple(
            ArtefactFile(name=file, size=len(body), sha256=hashlib.sha256(body).hexdigest())
            for file, body in self.files.items()
        )
        base = BaseModelOf(name="tiny")
        return Manifest(name=name, base=base, files=files, created=datetime.now(UTC), owners=owners)

    async def list(self, _: Empty) -> Adapters:
        return Adapters(adapters=tuple(self.kept.values()), key=public_key(SEED))

    async def read(self, request: ReadAdapterFile) -> AsyncIterator[AdapterPiece]:
        self.asked.append(request.adapter)
        manifest = self.kept[request.adapter].manifest
        assert manifest is not None
        body = list(self.files.values())[[file.sha256 for file in manifest.files].index(request.sha256)]
        yield AdapterPiece(data=body[:100])
        await self.stalls.wait()
        for start in range(100, len(body), PIECE):
            yield AdapterPiece(data=body[start : start + PIECE])
