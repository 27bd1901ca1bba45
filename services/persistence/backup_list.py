"""The list of backups that were made: a file beside the database, since receipts name those that still hold a text, and
a database that is restored must not forget the backups made since."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from libs.shared.contracts.backups import Backup, Backups, BackupState, SettleBackup
from libs.shared.contracts.forgetting import BackupNow
from libs.shared.errors import BackupNotFound, StorageFull
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

_MOST_GONE = 1000
"""Of those that failed or were deleted, the newest are kept in the list."""


@dataclass(frozen=True)
class Kept:
    """Since when something is kept, as far as a backup can tell: by the number of its first message, or the time."""

    ordinal: int | None = None
    at: datetime | None = None

    def held_by(self, backup: Backup) -> bool:
        """Whether the backup's file still has it. Rather one too many than one too few."""
        if backup.state not in (BackupState.MAKING, BackupState.KEPT):
            return False
        by_number = self.ordinal is not None and self.ordinal <= backup.last_ordinal
        return by_number or (self.at is not None and self.at <= backup.taken_at)


@dataclass
class BackupList:
    """This process's view of the file, which it alone writes."""

    path: Path
    _backups: dict[str, Backup] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            told = Backups.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError):
            log.error("backup_list_unreadable")  # it is begun anew; the files of the backups are not touched
            return
        self._backups = {backup.backup_id: backup for backup in reversed(told.backups)}

    @property
    def newest_first(self) -> tuple[Backup, ...]:
        return tuple(reversed(self._backups.values()))

    def holding(self, kept: Kept) -> tuple[str, ...]:
        """The backups that still hold it, newest first."""
        return tuple(backup.backup_id for backup in self.newest_first if kept.held_by(backup))

    def now(self, backup_ids: Iterable[str]) -> tuple[BackupNow, ...]:
        """How it stands with these. One that isn't in the list any more is not named."""
        found = (self._backups[one] for one in backup_ids if one in self._backups)
        return tuple(
            BackupNow(backup_id=one.backup_id, at=one.cut_at, state=one.state, settled_at=one.settled_at)
            for one in found
        )

    def add(self, backup: Backup) -> None:
        """Blocking. Raises StorageFull."""
        self._backups[backup.backup_id] = backup
        self._write()

    def settle(self, said: SettleBackup, now: datetime) -> Backup:
        """Blocking. Raises BackupNotFound, StorageFull."""
        if (found := self._backups.get(said.backup_id)) is None:
            raise BackupNotFound("there is no such backup in the list")
        update = {"state": said.state, "settled_at": now, "size_bytes": said.size_bytes or found.size_bytes}
        settled = self._backups[said.backup_id] = found.model_copy(update=update)
        self._write()
        return settled

    def _surplus(self) -> Iterator[str]:
        gone = [b.backup_id for b in self.newest_first if b.state in (BackupState.FAILED, BackupState.DELETED)]
        yield from gone[_MOST_GONE:]

    def _write(self) -> None:
        for backup_id in tuple(self._surplus()):
            del self._backups[backup_id]
        aside = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(file, "wb") as writing:
                writing.write(Backups(backups=self.newest_first).model_dump_json(indent=1).encode() + b"\n")
                writing.flush()
                os.fsync(writing.fileno())
            aside.replace(self.path)
        except OSError as error:
            raise StorageFull("the list of backups can't be written") from error
