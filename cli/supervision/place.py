"""Where the supervisor of an installation is found; imports little, since every command looks there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cli.installation import Installation
from cli.supervision.client import CLOSED, Process, Supervisor
from cli.supervision.programs import ENTRANCE, Paths
from libs.shared.layout import StateFolder


def paths(folder: StateFolder) -> Paths:
    """Where supervisord works; ``folder`` has a path short enough for sockets."""
    return Paths(
        socket=folder.supervisor_socket,
        pid_file=folder.run / "supervisor.pid",
        logs=folder.logs,
        working_folder=code_root(),
    )


def supervisor_of(installation: Installation) -> Supervisor:
    """The installation's supervisor, which may not be running."""
    return Supervisor(paths(installation.reachable).socket)


def as_meant(installation: Installation, processes: dict[str, Process]) -> dict[str, Process]:
    """What runs and what doesn't, as people are told: an entrance that was closed is no part that failed. Pure."""
    entrance = processes.get(ENTRANCE)
    if entrance is None or entrance.alive or installation.marker.entrance is not None:
        return processes
    return {**processes, ENTRANCE: replace(entrance, state=CLOSED, problem="")}


def code_root() -> Path:
    """The folder that holds the product's packages."""
    return Path(__file__).resolve().parents[2]
