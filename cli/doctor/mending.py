"""The safe part of mending: permissions, leftovers, what was stopped. Never data, models, or what a key file holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cli.doctor.findings import Finding
from cli.errors import CommandError
from cli.installation import Installation
from cli.supervision import orphans
from cli.supervision.place import paths, supervisor_of
from cli.supervision.programs import BROKER, DATABASE

_PATIENCE_S = 10.0
_KEPT_LOG_BYTES = 5 * 2**20
_STARTED_WITHIN_S = 20.0
_CHECK_EVERY_S = 0.1


def mend(installation: Installation, findings: Iterable[Finding]) -> list[str]:
    """Does what is safe about ``findings``; says what was done, and what could not be."""
    said = []
    for finding in findings:
        step = _STEPS.get(finding.code)
        if step is not None and finding.fixable:
            try:
                said.append(step(installation, finding))
            except (OSError, CommandError) as error:
                reason = error.problem if isinstance(error, CommandError) else (error.strerror or type(error).__name__)
                said.append(f"{finding.code}: could not be mended ({reason})")
    return said


def _permissions(installation: Installation, finding: Finding) -> str:
    path = installation.folder.root / finding.subject
    if path.is_symlink():
        raise CommandError(f"{finding.subject} is a link")
    through = finding.subject == "." and os.geteuid() == 0 and installation.marker.database is None
    mode = (0o711 if through else 0o700) if path.is_dir() else 0o600
    path.chmod(mode)
    return f"{finding.subject}: now of mode {mode:04o}"


def _folder(installation: Installation, finding: Finding) -> str:
    (installation.folder.root / finding.subject).mkdir(mode=0o700, exist_ok=True)
    return f"{finding.subject}: made again, empty"


def _leftover(installation: Installation, finding: Finding) -> str:
    if supervisor_of(installation).processes() is not None:
        raise CommandError("it is in use")
    where = paths(installation.reachable)
    (where.pid_file if finding.code == "stale-pid" else where.socket).unlink(missing_ok=True)
    return f"{finding.subject}: removed"


def _orphans(installation: Installation, _finding: Finding) -> str:
    ended = orphans.end(installation.marker.installation_id, patience_s=_PATIENCE_S)
    return f"{ended} processes without a supervisor: ended"


def _start(installation: Installation, finding: Finding) -> str:
    supervisor = supervisor_of(installation)
    supervisor.start(finding.subject)
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        process = (supervisor.processes() or {}).get(finding.subject)
        if process is not None and process.state == "running":
            return f"{finding.subject}: started"
        time.sleep(_CHECK_EVERY_S)
    raise CommandError(f"{finding.subject} does not stay up")


def _logs(installation: Installation, _finding: Finding) -> str:
    """Old files go, and of the others the newest part stays; a file that is written to keeps its place."""
    freed = 0
    for path in sorted(installation.folder.logs.glob("*.log*")):
        size = path.stat().st_size
        if path.suffix != ".log":
            path.unlink()
            freed += size
        elif size > _KEPT_LOG_BYTES:
            _cut(path)
            freed += size - _KEPT_LOG_BYTES
    return f"logs: {freed // 2**20} MiB freed"


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-_KEPT_LOG_BYTES, os.SEEK_END)
        kept = file.read()
        file.seek(0)
        file.write(kept)
        file.truncate()


_STEPS: dict[str, Callable[[Installation, Finding], str]] = {
    "permissions-open": _permissions,
    "permissions-closed": _permissions,
    "folder-missing": _folder,
    "stale-pid": _leftover,
    "stale-socket": _leftover,
    "orphans": _orphans,
    f"{BROKER}-stopped": _start,
    f"{DATABASE}-stopped": _start,
    "service-stopped": _start,
    "logs-large": _logs,
}
