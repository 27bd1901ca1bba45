"""Adapters in a backup: their files under their hashes, then the signed manifest of each whose files came whole."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from cli.backups.contents import ADAPTERS, Packing
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import (
    LIST_ADAPTERS,
    READ_ADAPTER_FILE,
    ArtefactFile,
    KeptAdapter,
    Manifest,
    ReadAdapterFile,
)
from libs.shared.contracts.base import Empty
from libs.shared.errors import ServiceError

FILES, MANIFESTS = ADAPTERS + "files/", ADAPTERS + "manifests/"
_NAMES = re.compile(rf"{ADAPTERS}(files/[0-9a-f]{{64}}|manifests/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}})")


async def kept(bus: Bus) -> list[KeptAdapter]:
    """Those that the installation trusts. Raises ServiceError."""
    return [one for one in (await bus.request(LIST_ADAPTERS, Empty())).adapters if one.manifest is not None]


def files_of(adapters: Sequence[KeptAdapter]) -> dict[str, tuple[str, ArtefactFile]]:
    """Each file once, by its hash, with an adapter that has it. Pure."""
    manifests = [one.manifest for one in adapters if one.manifest is not None]
    return {file.sha256: (manifest.name, file) for manifest in manifests for file in manifest.files}


def size_bytes(adapters: Sequence[KeptAdapter]) -> int:
    """Of all their files. Pure."""
    return sum(file.size for _, file in files_of(adapters).values())


async def pack(bus: Bus, packing: Packing, adapters: Sequence[KeptAdapter]) -> tuple[str, ...]:
    """The names of those that are in it: one that was removed meanwhile, or is damaged in the store, is left out.

    Raises ServiceError where the store can't be read.
    """
    whole = {digest for digest, (name, _) in files_of(adapters).items() if await _packed(bus, packing, name, digest)}
    packed = []
    for one in adapters:
        if one.manifest is not None and _complete(one.manifest, whole):
            packing.add(MANIFESTS + one.name, iter((one.signed.model_dump_json().encode(),)))
            packed.append(one.name)
    return tuple(packed)


def _complete(manifest: Manifest, whole: set[str]) -> bool:
    return all(file.sha256 in whole for file in manifest.files)


async def _packed(bus: Bus, packing: Packing, adapter: str, sha256: str) -> bool:
    """Whether it is in the backup as it should be."""
    filling = packing.begin(FILES + sha256)
    try:
        async with bus.stream(READ_ADAPTER_FILE, ReadAdapterFile(adapter=adapter, sha256=sha256)) as pieces:
            async for piece in pieces:
                filling.take(piece.data)
    except ServiceError as error:
        if error.status >= 500:  # the store is away, which says nothing of the adapter
            raise
    return filling.end().sha256 == sha256


def taken_into(folder: Path, name: str) -> BinaryIO | None:
    """Where a member of a backup is put, to be closed at its end; None for a strange name."""
    if _NAMES.fullmatch(name) is None:
        return None
    path = folder / name.removeprefix(ADAPTERS)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("wb")


def closed(file: BinaryIO) -> None:
    """With all that was written on the disk."""
    with closing(file):
        file.flush()
        os.fsync(file.fileno())
