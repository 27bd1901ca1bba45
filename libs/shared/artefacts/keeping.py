"""Having a folder kept as an artefact: its files into the store, each whole or not at all, then its signed manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import ARTEFACTS, KEEP_ADAPTER, LIST_ADAPTERS, KeepAdapter, Manifest
from libs.shared.contracts.base import Empty
from libs.shared.errors import StorageFull

_BLOCK = 256 * 1024


async def keep_folder(bus: Bus, folder: Path, manifest: Manifest) -> Manifest:
    """The manifest as it was signed. What was interrupted is simply repeated. ``bus``: of one who may write to
    ``ARTEFACTS``. Raises StorageFull, before anything is put, ServiceError, OSError."""
    store = bus.objects(ARTEFACTS)
    missing = [file for file in manifest.files if await store.about(file.sha256) is None]
    needed, free = sum(file.size for file in missing), (await bus.request(LIST_ADAPTERS, Empty())).free_bytes
    if needed > free:
        raise StorageFull(
            f"the store has room for {free / 2**20:.0f} MiB, and {manifest.name} needs {needed / 2**20:.0f}: remove "
            "one that isn't needed (mongars models adapters rm NAME)"
        )
    for file in missing:
        await store.put(file.sha256, pieces_of(folder / file.name))
    signed = await bus.request(KEEP_ADAPTER, KeepAdapter(manifest=manifest))
    return Manifest.model_validate_json(signed.body)


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes. Raises OSError."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _BLOCK):
            yield piece
