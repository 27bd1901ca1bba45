"""Keeping backups: which there are, deleting those that a schedule doesn't keep, copying the journal beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from cli.backups import journal_copies, making, records, recovery_key
from cli.backups.retention import surplus
from cli.bus import as_command
from cli.errors import CommandError
from cli.installation import Installation
from cli.progress import Progress
from libs.shared.contracts.backups import SETTLE_BACKUP, Backup, Backups, BackupState, SettleBackup
from libs.shared.layout import StateFolder


def listed(folder: StateFolder) -> tuple[Backup, ...]:
    """As persistence wrote it down, newest first; it needs no running installation. Raises CommandError."""
    try:
        return Backups.model_validate_json(folder.backup_list.read_bytes()).backups
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError):
        raise CommandError(f"{folder.backup_list} can't be read", "see: mongars logs persistence") from None


def scheduled(installation: Installation, progress: Progress) -> making.Made:
    """One turn of the schedule: makes a backup, and once it is whole deletes those that aren't kept."""
    schedule = records.schedule_of(installation.folder)
    if schedule is None:
        raise CommandError("no backups are scheduled", "mongars backup schedule --daily 03:00 --to DIR")
    records.note(installation.folder, attempted_at=datetime.now(UTC))
    made = making.make(installation, Path(schedule.to), progress, scheduled=True)
    zone = datetime.now().astimezone().tzinfo
    gone = surplus(
        listed(installation.folder), keep_daily=schedule.keep_daily, keep_weekly=schedule.keep_weekly, zone=zone
    )
    delete(installation, [backup for backup in gone if backup.backup_id != made.backup.backup_id])
    return made


def delete(installation: Installation, backups: Iterable[Backup]) -> None:
    """The files first, then the list says so. One whose folder isn't there now (a disk that was taken away) stays."""
    gone = []
    for backup in backups:
        place = Path(backup.place)
        with suppress(OSError):
            if place.parent.is_dir():
                place.unlink(missing_ok=True)
                gone.append(backup)
    if gone:
        asyncio.run(_say_deleted(installation, gone))


async def _say_deleted(installation: Installation, backups: Iterable[Backup]) -> None:
    async with as_command(installation) as bus:
        for backup in backups:
            await bus.request(SETTLE_BACKUP, SettleBackup(backup_id=backup.backup_id, state=BackupState.DELETED))


def carry(folder: StateFolder) -> int:
    """Copies the journal beside every backup that is kept; to how many folders. Raises CommandError when one that
    should be there can't be written."""
    seal = recovery_key.kept(folder)
    if seal is None:
        return 0
    places = {Path(one.place).parent for one in listed(folder) if one.state is BackupState.KEPT}
    failed = []
    for place in sorted(places):
        try:
            journal_copies.carry(folder.forgettings, place, seal)
        except OSError as error:
            failed.append(f"{place} ({error.strerror})")
    if failed:
        raise CommandError(
            f"what was forgotten could not be written beside the backups in {', '.join(failed)}",
            "bring that place back, or give the journal when restoring: --forgettings FILE",
        )
    return len(places)
