"""Stopping an installation: everything, in reverse order, within a bounded time."""

from __future__ import annotations

import time

from cli.errors import CommandError
from cli.installation import Installation
from cli.progress import Progress
from cli.short_path import forget_short_name
from cli.supervision import orphans
from cli.supervision.client import Supervisor
from cli.supervision.place import supervisor_of
from libs.shared.layout import StateFolder

_STOP_TIMEOUT_S = 180.0
_ORPHAN_PATIENCE_S = 10.0
_KILL_PATIENCE_S = 0.2
_CHECK_EVERY_S = 0.05


def stop(installation: Installation, progress: Progress) -> bool:
    """Drains and stops everything, in reverse order; False when nothing ran. Raises CommandError when it won't end."""
    supervisor = supervisor_of(installation)
    processes = supervisor.processes()
    if processes is not None:
        supervisor.shutdown()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for name in reversed(list(processes)):
            with progress.step(f"Stopping {name}"):
                _wait_ended(supervisor, name, deadline)
        while supervisor.processes() is not None:
            _wait_or_fail(deadline, "the supervisor does not stop")
    # what a service started for itself, or an earlier supervisor left
    left = orphans.end(installation.marker.installation_id, patience_s=_ORPHAN_PATIENCE_S)
    _forget_run(installation.folder)
    forget_short_name(installation.folder.root)
    return processes is not None or left > 0


def _forget_run(folder: StateFolder) -> None:
    """What was written for this run names the folder, which may be moved now."""
    for path in folder.run.iterdir() if folder.run.is_dir() else ():
        if not path.is_dir():
            path.unlink(missing_ok=True)


def kill(installation: Installation) -> None:
    """Ends everything at once, as a power cut would: nothing that was acknowledged is lost by it."""
    orphans.end(installation.marker.installation_id, patience_s=_KILL_PATIENCE_S)


def _wait_ended(supervisor: Supervisor, name: str, deadline: float) -> None:
    while (left := supervisor.processes()) is not None and name in left and left[name].alive:
        _wait_or_fail(deadline, f"{name} does not stop")


def _wait_or_fail(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise CommandError(problem, "see mongars logs, or end it at once with: mongars down --kill")
    time.sleep(_CHECK_EVERY_S)
