"""Adapters in a backup: whole ones come out as they went in, and one that is damaged spoils nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.backups import adapters
from cli.backups.contents import DATABASE, KEYS, Packing
from cli.backups.sealed_file import Writer
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import (
    LIST_ADAPTERS,
    READ_ADAPTER_FILE,
    AdapterPiece,
    Adapters,
    ArtefactFile,
    BaseModelOf,
    KeptAdapter,
    Manifest,
    ReadAdapterFile,
    SignedManifest,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.errors import AdapterNotFound, Unavailable
from tests.unit.cli.test_backup_file import KEY, NOW, about, opened

SHARED, OWN, LOST = b"shared weights" * 1000, b"own weights" * 30_000, b"what the store lost" * 50
DIGESTS = {content: hashlib.sha256(content).hexdigest() for content in (SHARED, OWN, LOST)}


def kept(name: str, *contents: bytes) -> KeptAdapter:
    files = tuple(
        ArtefactFile(name=f"{at}.safetensors", size=len(content), sha256=DIGESTS[content])
        for at, content in enumerate(contents)
    )
    manifest = Manifest(name=name, base=BaseModelOf(name="tiny"), files=files, created=NOW)
    return KeptAdapter(name=name, signed=SignedManifest(body=name, key="k", signature="s"), manifest=manifest)


KEPT = (kept("ada", SHARED, OWN), kept("bob", SHARED), kept("eve", SHARED, LOST))


async def packed(*, away: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """A backup's bytes, and the adapters that are in it."""
    broker = MemoryBroker()
    command, persistence = await broker.connect(Principal.CLI), await broker.connect(Principal.PERSISTENCE)

    async def listed(_: Empty) -> Adapters:
        return Adapters(adapters=(*KEPT, KeptAdapter(name="odd", signed=SignedManifest(body=""), code="c")), key="")

    async def read(wanted: ReadAdapterFile) -> AsyncIterator[AdapterPiece]:
        if away:
            raise Unavailable("the store is away")
        content = next(one for one, digest in DIGESTS.items() if digest == wanted.sha256)
        yield AdapterPiece(data=content[:100])
        if content is LOST:
            raise AdapterNotFound("it was removed meanwhile")
        yield AdapterPiece(data=content[100:])

    await persistence.serve(LIST_ADAPTERS, listed)
    await persistence.serve_stream(READ_ADAPTER_FILE, read)
    file = io.BytesIO()
    packing = Packing(Writer(file, KEY.seal, {"backup_id": "b1", "product_version": "0.1.0"}), about())
    for name in (KEYS, DATABASE):
        packing.add(name, iter((b"x",)))
    try:
        found = await adapters.kept(command)
        assert adapters.size_bytes(found) == len(SHARED) + len(OWN) + len(LOST)
        names = await adapters.pack(command, packing, found)
    finally:
        for bus in (command, persistence):
            await bus.drain(1)
    packing.finish()
    return file.getvalue(), names


async def test_each_file_is_in_it_once_and_a_damaged_adapter_is_left_out() -> None:
    backup, names = await packed()
    assert names == ("ada", "bob")
    members, _ = opened(backup)
    assert members[adapters.FILES + DIGESTS[SHARED]] == SHARED
    assert members[adapters.FILES + DIGESTS[OWN]] == OWN
    told = [name for name in members if name.startswith(adapters.MANIFESTS)]
    assert told == [adapters.MANIFESTS + "ada", adapters.MANIFESTS + "bob"]
    assert SignedManifest.model_validate_json(members[told[0]]) == KEPT[0].signed
    assert OWN[:40] not in backup, "and nobody reads it without the key"


async def test_a_store_that_is_away_fails_the_backup() -> None:
    with pytest.raises(Unavailable):
        await packed(away=True)


def test_what_a_backup_says_is_an_adapter_is_put_nowhere_else(tmp_path: Path) -> None:
    for strange in ("adapters/../keys", "adapters/files/../../x", "adapters/files/" + "a" * 63, "adapters/manifests/."):
        assert adapters.taken_into(tmp_path, strange) is None
    file = adapters.taken_into(tmp_path, adapters.FILES + "a" * 64)
    assert file is not None
    file.write(b"weights")
    adapters.closed(file)
    assert (tmp_path / "files" / ("a" * 64)).read_bytes() == b"weights"
