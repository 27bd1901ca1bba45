"""Stopping an installation: everything, in reverse order, within a bounded time."""

from __future__ import annotations

import time

from cli.errors import CommandError
from cli.installation import Installation
from cli.processes import supervisor_of
from cli.progress import Progress
from cli.supervision import orphans

_STOP_TIMEOUT_S = 180.0
_ORPHAN_PATIENCE_S = 10.0
_KILL_PATIENCE_S = 0.2
_CHECK_EVERY_S = 0.05


def stop(installation: Installation, progress: Progress) -> bool:
    """Drains and stops everything, in reverse order; False when nothing ran. Raises CommandError when it won't end."""
    supervisor = supervisor_of(installation)
    if (processes := supervisor.processes()) is None:
        return orphans.end(installation.marker.installation_id, patience_s=_ORPHAN_PATIENCE_S) > 0
    supervisor.shutdown()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for name in reversed(list(processes)):
        with progress.step(f"Stopping {name}"):
            while (left := supervisor.processes()) is not None and left[name].alive:
                _wait_or_fail(deadline, f"{name} does not stop")
    while not _supervisor_gone(installation):
        _wait_or_fail(deadline, "the supervisor does not stop")
    return True


def kill(installation: Installation) -> None:
    """Ends everything at once, as a power cut would: nothing that was acknowledged is lost by it."""
    orphans.end(installation.marker.installation_id, patience_s=_KILL_PATIENCE_S)


def _supervisor_gone(installation: Installation) -> bool:
    return not any(True for _ in orphans.marked(installation.marker.installation_id))


def _wait_or_fail(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise CommandError(problem, "see mongars logs, or end it at once with: mongars down --kill")
    time.sleep(_CHECK_EVERY_S)
