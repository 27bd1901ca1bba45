"""Brings the installation's adapters and encoders to this node's models folder, verified, each whole or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from libs.shared.artefacts.bringing import bring_file
from libs.shared.artefacts.encoders import embedder_of
from libs.shared.artefacts.folders import ABOUT_FILE, MANIFEST_FILE, fingerprint
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import (
    ADAPTERS_CHANGED,
    LIST_ADAPTERS,
    AdaptersChanged,
    BaseModelOf,
    Manifest,
    SignedManifest,
)
from libs.shared.contracts.base import MIB, Empty
from libs.shared.disk_room import free_bytes
from libs.shared.durable import sync_folder
from libs.shared.errors import AdapterMismatched, ServiceError, StorageFull
from libs.shared.telemetry import get_logger
from services.inference.adapters import FORMATS, candidates, sayable
from services.inference.artefacts import Errands, Wanted, encoder_errands, errands
from services.inference.embedder_build import read_shape
from services.inference.embedder_specs import read_spec
from services.inference.models import ADAPTERS_FOLDER, EMBEDDERS_FOLDER, ModelSpec

REREAD_S = 30.0
"""Word of a change may be lost, so the list is read again this often."""
RETRY_S = 2.0
RESERVE_BYTES = 1024 * MIB
"""Of the disk, what is left for others."""
_COMING = ".fetching."
_GOING = ".going."

log = get_logger(__name__)


class ArtefactFetcher:
    """``changed`` hears when others are refused."""

    def __init__(
        self,
        bus: Bus,
        models: Path,
        specs: Sequence[ModelSpec],
        changed: Callable[[bool], None],
        *,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._bus = bus
        self._adapters, self._encoders = models / ADAPTERS_FOLDER, models / EMBEDDERS_FOLDER
        self._specs = {spec.name: spec for spec in specs if spec.backend in FORMATS}
        self._changed = changed
        self._free = free
        self._bases: dict[str, BaseModelOf] | None = None
        self._refused: dict[str, str] = {}
        self._useless: dict[str, str] = {}
        """Manifest → why what was fetched by it was refused: it isn't fetched again."""
        self._news = asyncio.Event()

    def troubles(self) -> tuple[str, ...]:
        """For the node's telemetry."""
        return tuple(f"{sayable(name)}: {code}" for name, code in sorted(self._refused.items()))

    async def follow(self) -> None:
        """Keeps up with what the installation keeps, until cancelled."""
        heard = False
        while True:
            wait_s = RETRY_S
            try:
                if not heard:
                    await self._bus.subscribe(ADAPTERS_CHANGED, self._hear)
                    heard = True
                self._news.clear()
                wait_s = REREAD_S if await self.look() else RETRY_S
            except ServiceError as error:
                log.debug("adapters_unread", code=error.code)
            except OSError as error:
                log.warning("adapters_not_fetched", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def look(self) -> bool:
        """Fetches and removes what there is to; whether nothing is left for later. Raises ServiceError, OSError."""
        told = await self._bus.request(LIST_ADAPTERS, Empty())
        if self._bases is None:
            self._bases = await asyncio.to_thread(bases_of, self._specs)
        here = await asyncio.to_thread(folders_of, self._adapters)
        refused, late = await self._run(errands(told, here, self._bases), self._adapters)
        here = await asyncio.to_thread(folders_of, self._encoders)
        others, later = await self._run(encoder_errands(told, here), self._encoders)
        if refused | others != self._refused:
            self._refused = refused | others
            self._changed(True)
        return not (late or later)

    async def _run(self, to_do: Errands, folder: Path) -> tuple[dict[str, str], bool]:
        """Those refused, each with its code, and whether any of them is to be tried again soon."""
        refused, late = dict(to_do.refused), False
        for name in to_do.remove:
            await asyncio.to_thread(_remove, folder, name)
            log.info("adapter_taken_away", adapter=name)
        for wanted in to_do.fetch:
            code = self._useless.get(wanted.signed.body) or await self._try(wanted, folder)
            if code is not None:
                refused[wanted.manifest.name] = code
                late = late or wanted.signed.body not in self._useless
        return refused, late

    async def _hear(self, _: AdaptersChanged) -> None:
        self._news.set()

    async def _try(self, wanted: Wanted, folder: Path) -> str | None:
        """Why it didn't come; None: it did."""
        try:
            await self._fetch(wanted, folder)
        except ServiceError as error:
            if self._refused.get(wanted.manifest.name) != error.code:
                log.warning("adapter_not_fetched", adapter=wanted.manifest.name, code=error.code, detail=error.detail)
            if error.status < 500:
                self._useless[wanted.signed.body] = error.code
            return error.code
        log.info("adapter_fetched", adapter=wanted.manifest.name, size=wanted.size)
        return None

    async def _fetch(self, wanted: Wanted, folder: Path) -> None:
        """Aside, then under its name, where the models or the embedder look."""
        name = wanted.manifest.name
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        if self._free(folder) - wanted.size < RESERVE_BYTES:
            raise StorageFull(f"there is no room for {name} on this node's disk")
        aside = folder / f"{_COMING}{name}"
        await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
        aside.mkdir()
        try:
            for file in wanted.manifest.files:
                await bring_file(self._bus, name, file, aside / file.name)
            await asyncio.to_thread(_finish, aside, wanted)
            await asyncio.to_thread(_put, aside, folder / name)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
            raise


def bases_of(specs: dict[str, ModelSpec]) -> dict[str, BaseModelOf]:
    """The models that take adapters, with the fingerprints of their files. Raises OSError."""
    return {
        name: BaseModelOf(name=name, fingerprint=fingerprint(spec.path) if spec.path is not None else None)
        for name, spec in specs.items()
        if len(name) <= 190
    }


def folders_of(folder: Path) -> dict[str, str | None]:
    """What lies there, each with the manifest that it was fetched by; what a process that ended left in
    half is taken away. Raises OSError."""
    if not folder.is_dir():
        return {}
    for left in (*folder.glob(f"{_COMING}*"), *folder.glob(f"{_GOING}*")):
        shutil.rmtree(left, ignore_errors=True)
    return {path.name: manifest_of(path) for path in candidates(folder)}


def manifest_of(folder: Path) -> str | None:
    """The body of the manifest in an adapter's folder; empty for one that can't be read, None where there is none."""
    try:
        return SignedManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes()).body
    except FileNotFoundError:
        return None
    except (ValidationError, OSError):
        return ""


def check_embedder(folder: Path, manifest: Manifest) -> None:
    """Raises ModelBroken for what no graph can be built of, AdapterMismatched for another embedder than was signed."""
    spec = read_spec(folder, manifest.name)
    read_shape(folder)
    if spec.id != embedder_of(manifest) or spec.dimensions != manifest.configuration.get("dimensions"):
        raise AdapterMismatched(f"the files of {manifest.name} are those of {spec.id}, of {spec.dimensions} dimensions")


def _finish(aside: Path, wanted: Wanted) -> None:
    written = [MANIFEST_FILE]
    if wanted.manifest.kind == "encoder":
        check_embedder(aside, wanted.manifest)
    else:
        (aside / ABOUT_FILE).write_text(json.dumps({"base": wanted.manifest.base.name}))
        written.append(ABOUT_FILE)
    (aside / MANIFEST_FILE).write_text(wanted.signed.model_dump_json())
    for name in written:
        with (aside / name).open("rb") as file:
            _to_disk(file.fileno())


def _put(aside: Path, folder: Path) -> None:
    """One of that name was fetched by another manifest, and has been taken away by now."""
    aside.rename(folder)
    sync_folder(folder.parent)


def _remove(folder: Path, name: str) -> None:
    going = folder / f"{_GOING}{name}"
    shutil.rmtree(going, ignore_errors=True)
    (folder / name).rename(going)
    shutil.rmtree(going, ignore_errors=True)


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
