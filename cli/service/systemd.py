"""Asking systemd, where it runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cli.errors import CommandError

_TIMEOUT_S = 260
_RUNS = Path("/run/systemd/system")


def runs() -> bool:
    """Whether systemd started this machine; in a container it mostly did not."""
    return _RUNS.is_dir() and shutil.which("systemctl") is not None


def control(*arguments: str, user: bool) -> None:
    """``systemctl ARGUMENTS``. Raises CommandError with what it said."""
    command = ["systemctl", *(("--user",) if user else ()), *arguments]
    ran = subprocess.run(  # noqa: S603 - the system's own program
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or ["no reason given"])[0]
        raise CommandError(
            f"{' '.join(command)}: {said}", "see: journalctl " + ("--user " if user else "") + "-u mongars"
        )
