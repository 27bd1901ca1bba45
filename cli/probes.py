"""Asking the parts from outside whether they work."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.database.binaries import Binaries
from cli.degraded import passing

_TIMEOUT_S = 4.0
_OK = 200
_LONGEST_GREETING = 64 * 1024


@dataclass(frozen=True)
class Readiness:
    """What the gateway says at ``/readyz``."""

    ready: bool
    dependencies: dict[str, Any]
    degraded: tuple[str, ...]

    @property
    def loading(self) -> bool:
        """Whether something of what is degraded will mend itself in a moment."""
        return any(map(passing, self.degraded))

    @property
    def missing(self) -> list[str]:
        """What isn't well, with what each says of it."""
        rows = ((name, row) for name, row in self.dependencies.items() if isinstance(row, dict) and not row.get("ok"))
        return [f"{name}: {row['detail']}" if row.get("detail") else name for name, row in rows]


def readiness(port: int) -> Readiness | None:
    """None when the gateway does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        body = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if not isinstance(body, dict):
        return None
    return Readiness(reply.status == _OK, body.get("dependencies") or {}, tuple(body.get("degraded") or ()))


def broker_answers(port: int, name: str) -> bool:
    """Whether the NATS server of this ``name`` greets at ``port``; another installation's may have been quicker."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            greeting = connection.makefile("rb").readline(_LONGEST_GREETING)
        command, _, told = greeting.partition(b" ")
        about = json.loads(told) if command == b"INFO" else None
        return isinstance(about, dict) and about.get("server_name") == name
    except (OSError, ValueError):
        return False


def database_answers(binaries: Binaries, socket_folder: Path) -> bool:
    """Whether PostgreSQL takes connections."""
    ran = subprocess.run(  # noqa: S603 - our own program
        [binaries.program("pg_isready"), "-q", "-h", socket_folder, "-U", "mongars", "-d", "mongars"],
        timeout=_TIMEOUT_S,
        check=False,
        capture_output=True,
    )
    return ran.returncode == 0
