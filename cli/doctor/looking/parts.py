"""Looking at what runs: the supervisor, its processes, the broker's greeting, the gateway's word, last failures."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from cli import broker, ports
from cli.caretaker import record
from cli.doctor.facts import Parts
from cli.doctor.looking import backups
from cli.errors import CommandError
from cli.installation import Installation
from cli.logs import last_lines
from cli.probes import broker_answers, readiness
from cli.start_record import last_failure
from cli.supervision import orphans
from cli.supervision.client import Process, Supervisor
from cli.supervision.place import as_meant, paths
from cli.supervision.programs import log_file
from libs.shared.contracts.base import SERVICES
from libs.shared.layout import StateFolder

_SUPERVISOR_TIMEOUT_S = 5.0
_READ_LINES = 200


def look(installation: Installation) -> Parts:
    """What runs of the installation, and why not."""
    where = paths(installation.reachable)
    supervisor, found = _supervised(where.socket)
    processes = as_meant(installation, found)
    running = supervisor == "answers"
    parts = Parts(
        supervisor=supervisor,
        processes=processes,
        up_s={name: age for name, p in processes.items() if (age := _age_s(p.pid)) is not None},
        port=installation.marker.ports.http,
        failures=_failures(installation.folder),
        start_failure=last_failure(installation.folder),
        duties=record.read(installation.folder),
        certificate_days=backups.certificate_days(installation.folder, time.time())
        if installation.marker.lan
        else None,
        backups=backups.look(installation.folder, time.time()),
    )
    if running:
        said = readiness(installation.marker.ports.http)
        return replace(
            parts,
            broker_answers=broker_answers(installation.marker.ports.nats, broker.server_name(installation)),
            readiness=said,
            port_taken_by=None if said is not None else _stranger(installation),
        )
    if supervisor == "silent":
        return parts
    return replace(
        parts,
        stale_pid=_stale_pid(where.pid_file),
        stale_socket=where.socket.exists(),
        orphans=tuple(orphans.marked(installation.marker.installation_id)),
        port_taken_by=_stranger(installation),
    )


def _supervised(socket: Path) -> tuple[str, dict[str, Process]]:
    try:
        found = Supervisor(socket, timeout_s=_SUPERVISOR_TIMEOUT_S).processes()
    except CommandError:
        return "silent", {}
    return ("away", {}) if found is None else ("answers", found)


def _stranger(installation: Installation) -> str | None:
    """Who holds a port of the gateway's, where it isn't the installation itself."""
    lan = installation.marker.lan
    ours = {f"(process {pid})" for pid in orphans.marked(installation.marker.installation_id)}
    for port in (installation.marker.ports.http, *((lan.port,) if lan else ())):
        if not ports.is_free(port):
            found = ports.holder(port)
            if not any(found.endswith(pid) for pid in ours):
                return f"{port}, {found or 'another program'}"
    return None


def _age_s(pid: int) -> float | None:
    if not pid:
        return None
    with suppress(psutil.Error):
        return max(0.0, time.time() - psutil.Process(pid).create_time())
    return None


def _stale_pid(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except (ProcessLookupError, ValueError):
        return True
    except OSError:
        return False
    return False


def _failures(folder: StateFolder) -> dict[str, str]:
    """The type of what each service's last start ended with; none where it started since."""
    found = ((service.value, _failure(log_file(folder.logs, service.value))) for service in SERVICES)
    return {name: failure for name, failure in found if failure}


def _failure(log: Path) -> str:
    failure = ""
    try:
        lines = last_lines(log, _READ_LINES)
    except OSError:
        return ""
    for text in lines:
        if text.startswith("{"):
            with suppress(ValueError):
                failure = _after(json.loads(text), failure)
    return failure


def _after(line: dict[str, Any], failure: str) -> str:
    event = line.get("event")
    if event == "service_started":
        return ""
    if event in ("service_failed", "uncaught_exception"):
        told = line.get("exception")
        return str(told.get("type", "")) if isinstance(told, dict) else str(line.get("code", "") or "failed")
    return failure
