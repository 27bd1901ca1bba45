"""Log lines of caretaker and entrance: of the services' shape, without libraries that would triple their memory."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def say(event: str, level: str = "info", *, part: str = "caretaker", **fields: str | int | float | bool) -> None:
    """One line on standard error. Fields hold nothing personal: nothing scrubs them here."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"at": now, "level": level, "service": part, "logger": f"cli.{part}", "event": event, **fields}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
