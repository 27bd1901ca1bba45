"""Starting supervisord with its programs, none of which starts by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.errors import CommandError
from cli.installation import Installation
from cli.supervision import orphans
from cli.supervision.place import code_root, paths
from cli.supervision.programs import Program, render

_TIMEOUT_S = 30.0


def launch(installation: Installation, programs: Sequence[Program], environment: dict[str, str]) -> None:
    """Raises CommandError."""
    reachable = installation.reachable
    for folder in (reachable.run, reachable.logs):
        folder.mkdir(mode=0o700, exist_ok=True)
    where = paths(reachable)
    where.socket.unlink(missing_ok=True)
    configuration = write(installation, programs)
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
        cwd=code_root(),
        env={**environment, orphans.MARK: installation.marker.installation_id},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if ran.returncode != 0:
        raise CommandError(f"the supervisor could not be started: {(ran.stdout + ran.stderr).strip()}")


def write(installation: Installation, programs: Sequence[Program]) -> Path:
    """supervisord's configuration, which it reads when it starts and when it is told to."""
    reachable = installation.reachable
    configuration = reachable.run / "supervisord.conf"
    configuration.write_text(render(programs, paths(reachable)))
    return configuration
