"""What the caretaker does for backups: the scheduled ones, and copies of the journal of forgettings beside them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.backups.due import is_due
from cli.caretaker.child import command
from cli.errors import CommandError
from libs.shared.layout import StateFolder

NOTHING = "none is scheduled"
_carried: dict[Path, tuple[int, int]] = {}
"""Of each journal its size and time when it was last copied everywhere."""


async def make_scheduled(folder: StateFolder) -> str:
    """Makes the backup that is due and deletes those that aren't kept. Raises CommandError."""
    schedule = _read(folder.backups / "schedule.json")
    if schedule is None:
        return NOTHING
    attempted = (_read(folder.backups / "last.json") or {}).get("attempted_at") or schedule["since"]
    if not is_due(schedule["daily"], datetime.fromisoformat(attempted), datetime.now().astimezone()):
        return f"daily at {schedule['daily']}"
    code, said, complained = await command(folder, "backup", "scheduled", "--json")
    if code != 0:
        raise CommandError(f"the scheduled backup failed: {_problem(complained)}")
    return f"made {Path(json.loads(said)['file']).name}"


async def carry_journal(folder: StateFolder) -> str:
    """Copies what was forgotten since to the folders of the backups. Raises CommandError."""
    journal = folder.forgettings
    if not journal.exists():
        return "nothing was forgotten"
    now = journal.stat()
    if _carried.get(journal) == (now.st_size, now.st_mtime_ns):
        return "copied"
    code, _, complained = await command(folder, "backup", "carry")
    if code != 0:
        raise CommandError(f"the journal of forgettings was not copied: {_problem(complained)}")
    _carried[journal] = (now.st_size, now.st_mtime_ns)
    return "copied"


def _problem(complained: str) -> str:
    lines = [line for line in complained.splitlines() if line.startswith("mongars: ")]
    return lines[-1].removeprefix("mongars: ") if lines else "no reason given"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CommandError(f"{path.name} can't be read") from error
