"""Looking at how backups went, and how long the gateway's certificate lasts; light, since the caretaker asks too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cli.backups.state import backup_state, moment
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
    told = backup_state(folder)
    failed = str(told["failure"].get("problem", "it failed")) if told["failing"] else ""
    since = moment(told["success"])
    if since is None and told["schedule"]:
        since = moment({"at": told["schedule"].get("since")})
    overdue = (now_s - since.timestamp()) / _DAY_S if told["schedule"] and since is not None else None
    return Backups(failed, overdue)


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
