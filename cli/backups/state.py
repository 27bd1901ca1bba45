"""How backups stand, for ``mongars status`` and alerts; plain, for a status is quick and loads no library for this."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

from libs.shared.layout import StateFolder


def backup_state(folder: StateFolder) -> dict[str, Any]:
    """``recovery_key``: whether there is one; ``schedule``, ``success``, ``failure`` as they were written, or None;
    ``failing``: the newest attempt went wrong."""
    last = _read(folder, "last.json")
    success, failure = last.get("success"), last.get("failure")
    succeeded, failed = moment(success), moment(failure)
    return {
        "recovery_key": folder.recovery_key.exists(),
        "schedule": _read(folder, "schedule.json") or None,
        "success": success,
        "failure": failure,
        "failing": failed is not None and (succeeded is None or succeeded < failed),
    }


def backup_words(folder: StateFolder) -> str:
    """The same in a line."""
    told = backup_state(folder)
    if told["failing"]:
        return f"failed {_shown(told['failure'])}: {told['failure'].get('problem')}"
    if moment(told["success"]):
        scheduled = "" if told["schedule"] else " (none is scheduled)"
        return f"made {_shown(told['success'])}, {told['success'].get('place')}{scheduled}"
    if told["schedule"]:
        return f"daily at {told['schedule'].get('daily')}, none was made yet"
    return "none; make one with: mongars backup create --to DIR"


def _shown(told: dict[str, Any]) -> str:
    at = moment(told)
    return at.astimezone().isoformat(sep=" ", timespec="minutes") if at else "at an unknown time"


def moment(told: object) -> datetime | None:
    """The ``at`` of what was written of a backup; None where it says none that can be read."""
    if isinstance(told, dict):
        with suppress(ValueError):
            return datetime.fromisoformat(str(told.get("at")))
    return None


def _read(folder: StateFolder, name: str) -> dict[str, Any]:
    try:
        told = json.loads((folder.backups / name).read_text())
        return told if isinstance(told, dict) else {}
    except (OSError, ValueError):
        return {}
