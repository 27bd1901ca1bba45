"""Adapters and encoders as artefacts in the object store, signed with a key that follows from the installation key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import ValidationError

from libs.shared.artefacts.encoders import check_encoder, embedder_of
from libs.shared.artefacts.keeping import pieces_of
from libs.shared.artefacts.manifests import public_key, sign, verified
from libs.shared.artefacts.naming import free_name
from libs.shared.bus import Bus
from libs.shared.contracts.adapters import (
    ARTEFACTS,
    ArtefactFile,
    InService,
    KeptAdapter,
    Manifest,
    ServedRole,
    SignedManifest,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import with_adapter
from libs.shared.errors import AdapterExists, AdapterNotFound, ArtefactCorrupt, ServiceError
from libs.shared.telemetry import get_logger

ARTEFACT_KEY = b"mongars artefact"
SWEPT_AFTER_S = 3600.0
"""What was put and never kept is taken for lost then."""
_MANIFESTS = "manifests/"
PROMOTED: dict[ServedRole, str] = {"chat": "default_model", "code": "code_model"}
"""Role → the setting that gives it to a model."""
EMBEDDER = "embedder"
"""The setting that gives every memory to an embedder."""
CANARY: dict[ServedRole, str] = {"chat": "chat_canary", "code": "code_canary"}

log = get_logger(__name__)


class Artefacts:
    """What is kept. A manifest is there once all of its files are, and until the first of them goes."""

    def __init__(self, bus: Bus, seed: bytes) -> None:
        self._store = bus.objects(ARTEFACTS)
        self._seed = seed
        self._lock = asyncio.Lock()
        self._sweep_at = 0.0

    @property
    def key(self) -> str:
        """By which nodes know what this installation signed."""
        return public_key(self._seed)

    async def free_bytes(self) -> int:
        """What the store has room for."""
        return await self._store.free_bytes()

    async def keep(self, manifest: Manifest) -> SignedManifest:
        """Raises AdapterExists, ArtefactCorrupt, AdapterMismatched for what can't be an encoder, StorageFull."""
        if manifest.kind == "encoder":
            check_encoder(manifest)
        async with self._lock:
            if (kept := await self._kept(manifest.name)) is not None:
                if kept.manifest is not None and _same(kept.manifest, manifest):
                    return kept.signed
                taken = {about.name.removeprefix(_MANIFESTS) for about in await self._store.list()}
                raise AdapterExists(
                    f"there is another adapter {manifest.name}: choose another name, such as "
                    f"{free_name(manifest.name, taken)}, or remove it first"
                )
            for file in manifest.files:
                about = await self._store.about(file.sha256)
                if about is None or (about.sha256, about.size) != (file.sha256, file.size):
                    raise ArtefactCorrupt(f"{file.name} doesn't lie in the store as it is described")
            signed = sign(self._seed, manifest)
            await self._store.put(_MANIFESTS + manifest.name, _once(signed.model_dump_json().encode()))
        log.info("adapter_kept", adapter=manifest.name, files=len(manifest.files))
        return signed

    async def put_back(self, signed: SignedManifest, files: Path) -> None:
        """One that was kept here before, with its files in a folder under their hashes. One that is there is no error.

        Raises AdapterExists, StorageFull, ArtefactCorrupt and its kin where it can't be trusted, OSError.
        """
        manifest = verified(signed, self.key)
        async with self._lock:
            if (there := await self._kept(manifest.name)) is not None:
                if there.signed == signed:
                    return
                raise AdapterExists(f"there is another adapter {manifest.name}")
            for file in manifest.files:
                await self._put_file(file, files / file.sha256)
            await self._store.put(_MANIFESTS + manifest.name, _once(signed.model_dump_json().encode()))

    async def _put_file(self, file: ArtefactFile, path: Path) -> None:
        if await self._store.about(file.sha256) is not None:
            return
        if not await asyncio.to_thread(path.is_file):
            raise ArtefactCorrupt(f"{file.name} isn't there")
        about = await self._store.put(file.sha256, pieces_of(path))
        if (about.sha256, about.size) != (file.sha256, file.size):
            await self._store.delete(file.sha256)
            raise ArtefactCorrupt(f"{file.name} is not what was signed")

    async def all(self) -> tuple[KeptAdapter, ...]:
        """By name; those with a manifest that can't be trusted each with the reason."""
        names = [about.name for about in await self._store.list() if about.name.startswith(_MANIFESTS)]
        found = [await self._kept(name.removeprefix(_MANIFESTS)) for name in names]
        return tuple(kept for kept in found if kept is not None)

    async def manifest(self, name: str) -> Manifest:
        """Raises AdapterNotFound, and what ``verified`` does."""
        kept = await self._kept(name)
        if kept is None:
            raise AdapterNotFound("there is no such adapter; see mongars models adapters list")
        if kept.manifest is None:
            raise ServiceError.named(kept.code or ArtefactCorrupt.code, f"{name} can't be trusted: remove it", {})
        return kept.manifest

    async def read(self, name: str, sha256: str) -> AsyncIterator[bytes]:
        """One of its files. Raises AdapterNotFound, ArtefactCorrupt."""
        if sha256 not in {file.sha256 for file in (await self.manifest(name)).files}:
            raise AdapterNotFound(f"{name} has no such file")
        if await self._store.about(sha256) is None:
            raise ArtefactCorrupt(f"a file of {name} is gone from the store: remove it, and import it anew")
        async for part in self._store.get(sha256):
            yield part

    async def remove(self, name: str) -> None:
        """It and the files that are no other's. Raises AdapterNotFound."""
        async with self._lock:
            if (kept := await self._kept(name)) is None:
                raise AdapterNotFound("there is no such adapter; see mongars models adapters list")
            await self._store.delete(_MANIFESTS + name)
            needed = await self._needed()
            for file in kept.manifest.files if kept.manifest is not None else ():
                if file.sha256 not in needed:
                    await self._store.delete(file.sha256)
        log.info("adapter_removed", adapter=name)

    async def sweep(self) -> int:
        """Takes away what was put and never kept, once in a while; how many."""
        if monotonic() < self._sweep_at:
            return 0
        self._sweep_at = monotonic() + SWEPT_AFTER_S
        async with self._lock:
            swept = await self._store.sweep(SWEPT_AFTER_S)
            needed = await self._needed()
            for about in await self._store.list():
                if about.name not in needed and not about.name.startswith(_MANIFESTS) and _old(about.put_at):
                    await self._store.delete(about.name)
                    swept += 1
        return swept

    async def _needed(self) -> frozenset[str]:
        manifests = [kept.manifest for kept in await self.all()]
        return frozenset(file.sha256 for manifest in manifests if manifest is not None for file in manifest.files)

    async def _kept(self, name: str) -> KeptAdapter | None:
        signed = SignedManifest(body="")
        try:
            body = b"".join([part async for part in self._store.get(_MANIFESTS + name)])
            if not body:
                return None
            signed = SignedManifest.model_validate_json(body)
            manifest = verified(signed, self.key)
            if manifest.name != name:
                raise ArtefactCorrupt("the manifest is another adapter's")
            if manifest.kind == "encoder":
                check_encoder(manifest)
        except ValidationError:
            return KeptAdapter(name=name, signed=signed, code=ArtefactCorrupt.code)
        except ServiceError as error:
            if error.status >= 500:  # the store is away, which says nothing of the artefact
                raise
            return KeptAdapter(name=name, signed=signed, code=error.code)
        return KeptAdapter(name=name, signed=signed, manifest=manifest)


def reference(manifest: Manifest) -> str:
    """Under which it is asked for. Raises AdapterMismatched for what can't be an encoder."""
    return embedder_of(manifest) if manifest.kind == "encoder" else with_adapter(manifest.base.name, manifest.name)


def keys_of(manifest: Manifest) -> tuple[str, ...]:
    """The settings that may put it into service. Pure."""
    return (EMBEDDER,) if manifest.kind == "encoder" else (*PROMOTED.values(), *CANARY.values())


def in_service(settings: RuntimeSettings, manifest: Manifest) -> tuple[InService, ...]:
    """Where a model with its adapter answers, or whether an encoder embeds, as the settings have it. Pure."""
    name = reference(manifest)
    if manifest.kind == "encoder":
        return (InService(role="embed", share=1.0),) if settings.embedder == name else ()
    found = []
    for role in PROMOTED:
        canary = getattr(settings, CANARY[role])
        if getattr(settings, PROMOTED[role]) == name:
            found.append(InService(role=role, share=1.0))
        elif canary is not None and canary.model == name:
            found.append(InService(role=role, share=canary.share))
    return tuple(found)


def names(value: Any, name: str) -> bool:
    """Whether a setting's value puts the model with its adapter into service. Pure."""
    return name == (value.get("model") if isinstance(value, dict) else value)


def _same(one: Manifest, other: Manifest) -> bool:
    return one == other.model_copy(update={"created": one.created})


def _old(put_at: datetime) -> bool:
    return (datetime.now(UTC) - put_at).total_seconds() >= SWEPT_AFTER_S


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
