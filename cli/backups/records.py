"""What is kept of backups in the state folder beside persistence's list: the schedule, and how the last one went."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.errors import CommandError
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder


class Schedule(BaseModel):
    """When backups are made by themselves, where, and how many are kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    daily: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """``HH:MM`` of this machine's clock."""
    to: str
    """The folder, by its absolute path."""
    keep_daily: int = Field(ge=1, le=3660)
    keep_weekly: int = Field(ge=0, le=520)
    since: datetime
    """When it was set: the first backup is due at the first time of day after it."""


class Success(BaseModel):
    """The last backup that was whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    backup_id: str
    place: str
    size_bytes: int
    took_s: float


class Failure(BaseModel):
    """The last that wasn't."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    problem: str


class Last(BaseModel):
    """``backups/last.json``: what ``mongars status`` and alerts tell of."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    success: Success | None = None
    failure: Failure | None = None
    attempted_at: datetime | None = None
    """By the schedule, whether it went well or not."""

    @property
    def failing(self) -> bool:
        """The newest attempt went wrong."""
        return self.failure is not None and (self.success is None or self.success.at < self.failure.at)


def schedule_of(folder: StateFolder) -> Schedule | None:
    """None where backups are made by hand alone. Raises CommandError for a file that can't be read."""
    try:
        return Schedule.model_validate_json(_schedule(folder).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise CommandError(f"{_schedule(folder)} can't be read", "set it anew: mongars backup schedule …") from None


def set_schedule(folder: StateFolder, schedule: Schedule | None) -> None:
    """None: no backups by themselves. Raises OSError."""
    folder.backups.mkdir(mode=0o700, exist_ok=True)
    if schedule is None:
        _schedule(folder).unlink(missing_ok=True)
    else:
        write_private(_schedule(folder), schedule.model_dump_json(indent=1).encode() + b"\n")


def last_of(folder: StateFolder) -> Last:
    """Empty where none was made yet, or the file can't be read."""
    try:
        return Last.model_validate_json((folder.backups / "last.json").read_bytes())
    except (OSError, ValidationError):
        return Last()


def note(folder: StateFolder, **changes: object) -> None:
    """Changes what is known of the last backup. Raises OSError."""
    folder.backups.mkdir(mode=0o700, exist_ok=True)
    told = last_of(folder).model_copy(update=changes)
    write_private(folder.backups / "last.json", told.model_dump_json(indent=1).encode() + b"\n")


def _schedule(folder: StateFolder) -> Path:
    return folder.backups / "schedule.json"
