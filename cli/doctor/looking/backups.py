"""Looking at how backups went, and how long the gateway's certificate lasts; light, since the caretaker asks too."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from libs.shared.layout import StateFolder

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Backups:
    """``overdue_days``: since a scheduled backup last went well, or since the schedule was set; None: no schedule."""

    failed: str = ""
    """What the newest attempt ended with; empty when it went well, or there was none."""
    overdue_days: float | None = None


def look(folder: StateFolder, now_s: float) -> Backups:
    """Empty where no backup was ever asked for."""
    last, schedule = _read(folder.root / "backups" / "last.json"), _read(folder.root / "backups" / "schedule.json")
    success, failure = _moment(last.get("success")), _moment(last.get("failure"))
    failed = ""
    if failure is not None and (success is None or success < failure):
        failed = str(last["failure"].get("problem", "it failed"))
    since = success if success is not None else _moment({"at": schedule.get("since")})
    overdue = (now_s - since) / _DAY_S if schedule and since is not None else None
    return Backups(failed, overdue)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _moment(row: object) -> float | None:
    """Its ``at``, in seconds since 1970."""
    if isinstance(row, dict):
        with suppress(ValueError):
            return datetime.fromisoformat(str(row.get("at"))).timestamp()
    return None


def certificate_days(folder: StateFolder, now_s: float) -> float | None:
    """Until the gateway's certificate expires; None where it shows none, or one that can't be read."""
    try:
        pem = folder.tls_certificate.read_bytes()
    except OSError:
        return None
    from cryptography import x509  # only where there is one

    try:
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return None
    return (ends - datetime.fromtimestamp(now_s, UTC)).total_seconds() / _DAY_S
