"""Which scheduled backups are kept: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from libs.shared.contracts.backups import Backup, BackupState


def surplus(backups: Iterable[Backup], *, keep_daily: int, keep_weekly: int, zone: tzinfo | None) -> list[Backup]:
    """Those that can go, oldest first: of the scheduled ones that are whole, the newest of each of the last
    ``keep_daily`` days and ``keep_weekly`` weeks (ISO, Monday first) on which there is one stays.

    The newest stays always; one that was made by hand, or isn't whole, is never among them.
    """
    mine = sorted((b for b in backups if b.scheduled and b.state is BackupState.KEPT), key=_age, reverse=True)
    stay = {backup.backup_id for backup in mine[:1]}
    stay |= _newest_of_each(mine, [_local(b, zone).date() for b in mine], keep_daily)
    stay |= _newest_of_each(mine, [_local(b, zone).date().isocalendar()[:2] for b in mine], keep_weekly)
    return [backup for backup in reversed(mine) if backup.backup_id not in stay]


def _newest_of_each(newest_first: Sequence[Backup], periods: Sequence[object], most: int) -> set[str]:
    newest: dict[object, str] = {}
    for backup, period in zip(newest_first, periods, strict=True):
        newest.setdefault(period, backup.backup_id)
    return set(list(newest.values())[:most])


def _local(backup: Backup, zone: tzinfo | None) -> datetime:
    return backup.cut_at.astimezone(zone)


def _age(backup: Backup) -> tuple[datetime, str]:
    return backup.cut_at, backup.backup_id
