"""Brings a kept artefact's file out of the store, as it was signed or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

from libs.shared.artefacts.manifests import check_file
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import READ_ADAPTER_FILE, ArtefactFile, ReadAdapterFile


async def bring_file(bus: Bus, artefact: str, file: ArtefactFile, path: Path) -> None:
    """To ``path``, which isn't there yet, and onto the disk. Raises ArtefactCorrupt, ServiceError, OSError; what had
    come lies there then."""
    digest, size = hashlib.sha256(), 0
    asked = ReadAdapterFile(adapter=artefact, sha256=file.sha256)
    with path.open("xb") as out:
        async with bus.stream(READ_ADAPTER_FILE, asked) as pieces:
            async for piece in pieces:
                size += len(piece.data)
                if size > file.size:
                    break  # it is refused below
                digest.update(piece.data)
                await asyncio.to_thread(out.write, piece.data)
        check_file(file, size, digest)
        out.flush()
        await asyncio.to_thread(os.fsync, out.fileno())
