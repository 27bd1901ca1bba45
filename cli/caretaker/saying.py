"""The caretaker's log lines: of the services' shape, without the libraries that would triple this process's memory."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def say(event: str, level: str = "info", **fields: str | int | float | bool) -> None:
    """One line on standard error. Fields hold nothing personal: nothing scrubs them here."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"at": now, "level": level, "service": "caretaker", "logger": "cli.caretaker", "event": event, **fields}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
