"""Asking a running supervisord, over its Unix socket."""

from __future__ import annotations

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from libs.shared.supervisor import called

_TIMEOUT_S = 20.0
_ALREADY = (60, 70)
"""Faults ALREADY_STARTED and NOT_RUNNING: what was asked for is so."""
_ENDED_AT_ONCE = 50
"""Fault SPAWN_ERROR: it was made, ended before supervisord answered, and is tried again like any that ends too soon."""

_ALREADY_ADDED = 90
CLOSED = "closed"


@dataclass(frozen=True)
class Process:
    """A supervised process as supervisord sees it."""

    name: str
    state: str
    """``running``, ``starting``, ``stopped``, ``stopping``, ``backoff``, ``exited``, ``fatal``; ``CLOSED``: as it is
    meant to be."""
    pid: int
    """0 when there is none."""
    restarts: int
    problem: str

    @property
    def alive(self) -> bool:
        return self.pid > 0


class Supervisor:
    """One supervisord. Calls raise CommandError when it hangs or is away; ``processes`` answers None when away."""

    def __init__(self, socket_path: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._socket = socket_path
        self._timeout_s = timeout_s

    def processes(self) -> dict[str, Process] | None:
        """By name, in the order in which they start; None when no supervisord answers."""
        try:
            rows = self._call("mongars.report")
        except TimeoutError:
            raise CommandError("the supervisor does not answer", "try again, or: mongars down --kill") from None
        except (OSError, http.client.HTTPException):
            return None
        return {row["name"]: Process(**row) for row in rows}

    def start(self, name: str) -> None:
        """Returns when the process was made; it may end at once."""
        try:
            self._asked("supervisor.startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (*_ALREADY, _ENDED_AT_ONCE):
                raise CommandError(f"{name} could not be started: {fault.faultString}") from None

    def add(self, name: str) -> None:
        """Takes in a program that its configuration has had since it started; it isn't started by that."""
        try:
            self._asked("supervisor.reloadConfig")
            self._asked("supervisor.addProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_ADDED:
                raise CommandError(f"{name} could not be added: {fault.faultString}") from None

    def stop(self, name: str) -> None:
        """Asks for the end of one process, which is not started again; returns at once."""
        try:
            self._asked("supervisor.stopProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in _ALREADY:
                raise CommandError(f"{name} could not be stopped: {fault.faultString}") from None

    def shutdown(self) -> None:
        """Asks for the end of everything, in reverse order; returns at once."""
        self._asked("supervisor.shutdown")

    def _asked(self, method: str, *arguments: Any) -> Any:
        try:
            return self._call(method, *arguments)
        except (OSError, http.client.HTTPException):
            raise CommandError("the supervisor does not answer", "run: mongars down, then mongars up") from None

    def _call(self, method: str, *arguments: Any) -> Any:
        return called(self._socket, method, *arguments, timeout_s=self._timeout_s)
