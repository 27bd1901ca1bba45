"""Making a backup of a running installation: the cut from persistence, the dump from PostgreSQL, sealed as it flows."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cli.backups import adapters, journal_copies, records, recovery_key
from cli.backups.contents import DATABASE, FOLDER, KEYS, About, Packing
from cli.backups.postgres_tools import Tool, dump, fitting, needs_tls
from cli.backups.recovery_key import Seal
from cli.backups.sealed_file import Writer
from cli.bus import as_command
from cli.database.choice import kept_password
from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.progress import Progress
from cli.version import product_version
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import KeptAdapter
from libs.shared.contracts.backups import (
    LIST_BACKUPS,
    SETTLE_BACKUP,
    TAKE_CUT,
    Backup,
    BackupState,
    Cut,
    CutChunk,
    SettleBackup,
    TakeCut,
)
from libs.shared.contracts.base import Empty
from libs.shared.durable import sync_folder
from libs.shared.errors import ServiceError
from libs.shared.layout import FORMAT_VERSION, StateFolder

SUFFIX = ".backup"
_PARTIAL = ".partial"
_OURS_MAJOR = 18
_LARGEST_FILE = 4 * 1024 * 1024
_LEFT_OUT = ("broker", "database", "slots", "run", "ray", "logs", "models", "upgrade", "keys/nats", "invitations")
"""Made anew where it is restored, in the backup by another way, or to be had again (models, invitations)."""
_ENDS_HERE = ("training", "restored-adapters")
"""Runs and their texts: people's words in the clear, which nothing would forget there."""
_FILES_LEFT_OUT = (
    *("keys/database.password", ".lock", "backups/.lock", "backups/last.json", "caretaker.json"),
    *("joined-nodes.json", "keys/.joining.lock"),  # a backup must not let in again who was removed after it
)


@dataclass(frozen=True)
class Made:
    """A backup that is whole and on disk."""

    backup: Backup
    cut: Cut
    took_s: float
    adapters: tuple[str, ...] = ()
    adapter_bytes: int = 0

    def as_json(self) -> dict[str, object]:
        position = self.cut.position
        return {
            "backup_id": self.backup.backup_id,
            "file": self.backup.place,
            "size_bytes": self.backup.size_bytes,
            "cut": {"at": self.cut.at, "epoch": position.epoch, "sequence": position.sequence},
            "turns": self.cut.counts.get("turns", 0),
            "keys": self.cut.keys,
            "adapters": len(self.adapters),
            "adapter_bytes": self.adapter_bytes,
            "took_s": round(self.took_s, 2),
        }


def make(installation: Installation, target: Path, progress: Progress, *, scheduled: bool = False) -> Made:
    """Makes one at ``target``, a folder or a file. What becomes of it is noted for ``mongars status``.

    Raises CommandError; then nothing of it remains at the target.
    """
    try:
        with _alone(installation.folder):
            made = asyncio.run(_make(installation, _absolute(target), progress, scheduled))
    except CommandError as error:
        with suppress(OSError):
            records.note(installation.folder, failure=records.Failure(at=datetime.now(UTC), problem=error.problem))
        raise
    done = made.backup
    success = records.Success(
        at=datetime.now(UTC),
        backup_id=done.backup_id,
        place=done.place,
        size_bytes=done.size_bytes,
        took_s=round(made.took_s, 2),
    )
    records.note(installation.folder, success=success)
    return made


@contextmanager
def _alone(folder: StateFolder) -> Iterator[None]:
    folder.backups.mkdir(mode=0o700, exist_ok=True)
    with (folder.backups / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("another backup is being made", "wait until it is done", code=Exit.REFUSED) from None
        yield


def _absolute(target: Path) -> Path:
    return Path(os.path.realpath(target.expanduser()))


async def _make(installation: Installation, target: Path, progress: Progress, scheduled: bool) -> Made:
    begun = time.monotonic()
    seal = _seal(installation.folder)
    tool = await asyncio.to_thread(_dump_tool, installation)
    backup_id = uuid.uuid4().hex
    place = _place(target, backup_id, datetime.now(UTC))
    async with as_command(installation) as bus:
        await _settle_abandoned(bus)
        request = TakeCut(backup_id=backup_id, place=str(place), scheduled=scheduled)
        partial = place.with_name(place.name + _PARTIAL)
        try:
            written = await _write(bus, request, partial, installation, seal, tool, progress)
            partial.replace(place)
            sync_folder(place.parent)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            with suppress(ServiceError):
                await bus.request(SETTLE_BACKUP, SettleBackup(backup_id=backup_id, state=BackupState.FAILED))
            if isinstance(error, OSError):
                raise _told(error, place.parent) from None
            raise
        size = place.stat().st_size
        settled = SettleBackup(backup_id=backup_id, state=BackupState.KEPT, size_bytes=size)
        backup = await bus.request(SETTLE_BACKUP, settled)
        with suppress(OSError):  # the caretaker tries again
            journal_copies.carry(installation.folder.forgettings, place.parent, seal)
    return Made(backup, written.cut, time.monotonic() - begun, written.adapters, written.adapter_bytes)


def _seal(folder: StateFolder) -> Seal:
    if (found := recovery_key.kept(folder)) is None:
        raise CommandError(
            "this installation has no recovery key yet, and without one nobody could open its backups",
            "make one, and keep it elsewhere: mongars backup recovery-key",
        )
    return found


def _place(target: Path, backup_id: str, now: datetime) -> Path:
    """A file in the folder ``target``, or ``target`` itself where it names a backup. Raises CommandError."""
    if target.name.endswith(SUFFIX) and not target.is_dir():
        folder, place = target.parent, target
    else:
        folder, place = target, target / f"mongars-{now:%Y%m%dT%H%M%SZ}-{backup_id[:8]}{SUFFIX}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _told(error, folder) from None
    if place.exists():
        raise CommandError(f"{place} exists already", "name another file, or a folder", code=Exit.USAGE)
    return place


def _told(error: OSError, folder: Path) -> CommandError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CommandError(
        f"the backup can't be written to {folder}: {reason}", "make room there, or name another place with --to"
    )


def _dump_tool(installation: Installation) -> Tool:
    url = installation.marker.database
    if url is None:
        return fitting("pg_dump", _OURS_MAJOR, tls=False, because="the installation's database")
    from cli.database.inspection import server_major

    major = server_major(url, kept_password(installation))
    return fitting("pg_dump", major, tls=needs_tls(url), because="the database")


async def _settle_abandoned(bus: Bus) -> None:
    """What a backup left that was cut short: we hold the lock, so none is being made."""
    for backup in (await bus.request(LIST_BACKUPS, Empty())).backups:
        if backup.state is BackupState.MAKING:
            await bus.request(SETTLE_BACKUP, await asyncio.to_thread(_abandoned, backup))


def _abandoned(backup: Backup) -> SettleBackup:
    place = Path(backup.place)
    place.with_name(place.name + _PARTIAL).unlink(missing_ok=True)
    size = place.stat().st_size if place.exists() else 0
    state = BackupState.KEPT if size else BackupState.FAILED
    return SettleBackup(backup_id=backup.backup_id, state=state, size_bytes=size)


@dataclass(frozen=True)
class _Written:
    cut: Cut
    adapters: tuple[str, ...]
    adapter_bytes: int


async def _write(
    bus: Bus,
    request: TakeCut,
    partial: Path,
    installation: Installation,
    seal: Seal,
    tool: Tool,
    progress: Progress,
) -> _Written:
    with partial.open("xb") as file:
        async with bus.stream(TAKE_CUT, request) as chunks:
            with progress.step("Waiting until everything that was answered is kept"):
                cut = await _cut(chunks)
            with progress.step("Copying keys"):
                keys = await _keys(chunks, cut)
            (backup,) = [
                one for one in (await bus.request(LIST_BACKUPS, Empty())).backups if one.backup_id == request.backup_id
            ]
            kept = await adapters.kept(bus)
            packing = Packing(_writer(file, seal, backup), _about(installation, cut, backup, tool, kept))
            for name, path in folder_files(installation.folder):
                packing.add(FOLDER + name, iter((path.read_bytes(),)))
            packing.add(KEYS, iter(keys))
            with progress.step("Copying the database"):
                await _dump(packing, installation, tool, cut, chunks)
        with progress.step("Copying adapters") if kept else nullcontext():
            packed = await adapters.pack(bus, packing, kept)
        packing.finish()
        file.flush()
        os.fsync(file.fileno())
    return _Written(cut, packed, adapters.size_bytes([one for one in kept if one.name in packed]))


async def _cut(chunks: AsyncIterator[CutChunk]) -> Cut:
    async for chunk in chunks:
        if chunk.cut is not None:
            return chunk.cut
    raise CommandError("the installation did not answer as it should", "see: mongars logs persistence")


async def _keys(chunks: AsyncIterator[CutChunk], cut: Cut) -> list[bytes]:
    pieces: list[bytes] = []
    async for chunk in chunks:
        pieces.append(chunk.keys)
        if chunk.complete:
            break
    return pieces


async def _dump(
    packing: Packing, installation: Installation, tool: Tool, cut: Cut, chunks: AsyncIterator[CutChunk]
) -> None:
    """While the dump flows in a thread, what persistence says now and then is taken: so long the snapshot lasts."""

    async def stay() -> None:
        with suppress(ServiceError):  # once pg_dump has the snapshot it needs nobody else
            async for _ in chunks:
                continue

    staying = asyncio.create_task(stay())
    try:
        with dump(installation, tool, cut.snapshot, kept_password(installation)) as pieces:
            await asyncio.to_thread(packing.add, DATABASE, pieces)
    finally:
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)


def _writer(file: BinaryIO, seal: Seal, backup: Backup) -> Writer:
    header = {"backup_id": backup.backup_id, "cut_at": backup.cut_at.isoformat(), "product_version": product_version()}
    return Writer(file, seal, header)


def _about(installation: Installation, cut: Cut, backup: Backup, tool: Tool, kept: list[KeptAdapter]) -> About:
    return About(
        product_version=product_version(),
        folder_format=FORMAT_VERSION,
        schema_revision=cut.schema_revision,
        postgres_dump=tool.major,
        http_port=installation.marker.ports.http,
        counts=cut.counts,
        keys=cut.keys,
        adapters=len(kept),
        adapter_bytes=adapters.size_bytes(kept),
        backup=backup,
    )


def folder_files(folder: StateFolder) -> Iterator[tuple[str, Path]]:
    """Keys, settings and lists: the small files of the state folder that nothing else brings back, by their path."""
    for path in sorted(folder.root.rglob("*")):
        name = path.relative_to(folder.root).as_posix()
        left_out = name in _FILES_LEFT_OUT or name.endswith((".new", _PARTIAL, SUFFIX))
        if left_out or any(name == top or name.startswith(top + "/") for top in (*_LEFT_OUT, *_ENDS_HERE)):
            continue
        with suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST_FILE:
                yield name, path
