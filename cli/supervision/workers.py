"""Several processes of one service, as many as were asked for: started beside the first, and retired from the last on.

Each is a program of supervisord's like any other, made from the first one's, so that it is started again when it ends,
listed, and stopped with the rest.
"""

from __future__ import annotations

import copy
import re
import signal
import time
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.options import ProcessGroupConfig
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates
from supervisor.xmlrpc import Faults, RPCError

SEVERAL = frozenset({"cognition"})
"""What this machine may run several of; the gateway has its one port, the others what they alone keep."""
MOST = 16
"""As the contracts have it (``MOST_HERE``), which would bring their library into the supervisor."""
RETIRE = signal.SIGUSR1
RETIRE_WAIT_S = 700
"""Longer than the service itself gives what it has begun (``retire_timeout_s``)."""
_NUMBERED = re.compile(r"(.+)-([2-9]|1[0-6])")


def worker_name(service: str, number: int) -> str:
    """Of the first: the service's own."""
    return service if number == 1 else f"{service}-{number}"


def numbered(name: str) -> tuple[str, int]:
    """The service and the number that a name stands for."""
    found = _NUMBERED.fullmatch(name)
    if found is None or found[1] not in SEVERAL:
        return name, 1
    return found[1], int(found[2])


class Workers:
    """Called by supervisord's one thread alone."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._retiring: dict[str, int] = {}
        """Those that end their work, and how long they would have for a stop."""
        events.subscribe(events.Tick5Event, self._tidy)
        events.subscribe(events.SupervisorStoppingEvent, self._hurry)

    def counts(self) -> dict[str, dict[str, int]]:
        """By service: ``running``, of which nothing is known to fail, and ``wanted``, which are meant to run."""
        return {service: self._count(service) for service in SEVERAL if service in self._supervisord.process_groups}

    def scale(self, service: str, count: int) -> bool:
        """Returns at once; what is retired goes on until it has ended its work. Raises RPCError."""
        if service not in SEVERAL or service not in self._supervisord.process_groups or not 0 <= count <= MOST:
            raise RPCError(Faults.BAD_NAME, f"{count} of {service}")
        if self._supervisord.options.mood < SupervisorStates.RUNNING:
            raise RPCError(Faults.SHUTDOWN_STATE)
        meant = [number for number in range(1, MOST + 1) if not self._leaves(service, number)][:count]
        for number in meant:
            self._start(service, number)
        for number in range(MOST, 0, -1):
            if number not in meant:
                self._retire(worker_name(service, number))
        return True

    def _leaves(self, service: str, number: int) -> bool:
        """It ends its work, and its number is free only then."""
        group = self._supervisord.process_groups.get(worker_name(service, number))
        return group is not None and any(
            process.get_state() == ProcessStates.STOPPING for process in group.processes.values()
        )

    def _count(self, service: str) -> dict[str, int]:
        states = [process.get_state() for process in self._processes(service)]
        wanted = (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF, ProcessStates.EXITED)
        return {
            "running": sum(state == ProcessStates.RUNNING for state in states),
            "wanted": sum(state in wanted for state in states),
        }

    def _processes(self, service: str) -> list[Any]:
        names = (worker_name(service, number) for number in range(1, MOST + 1))
        groups = self._supervisord.process_groups
        return [groups[name].processes[name] for name in names if name in groups]

    def _start(self, service: str, number: int) -> None:
        name = worker_name(service, number)
        if name not in self._supervisord.process_groups:
            self._supervisord.add_process_group(self._copied(service, number))
        process = self._supervisord.process_groups[name].processes[name]
        if process.get_state() in STOPPED_STATES:
            process.spawn()

    def _copied(self, service: str, number: int) -> ProcessGroupConfig:
        first = self._supervisord.process_groups[service].config
        config = copy.copy(first.process_configs[0])
        config.name = worker_name(service, number)
        log = Path(config.stdout_logfile)
        config.stdout_logfile = str(log.with_name(config.name + log.suffix))
        config.environment = {**config.environment, "MONGARS_WORKER": str(number)}
        return ProcessGroupConfig(config.options, config.name, first.priority, [config])

    def _retire(self, name: str) -> None:
        group = self._supervisord.process_groups.get(name)
        process = group.processes[name] if group is not None else None
        if process is None or process.get_state() == ProcessStates.STOPPING:
            return
        if process.get_state() in STOPPED_STATES:
            self._forget(name)
            return
        usual_s = process.config.stopwaitsecs
        process.administrative_stop, process.laststopreport = True, 0
        process.config.stopwaitsecs = RETIRE_WAIT_S
        try:
            process.kill(RETIRE)
        finally:
            process.config.stopwaitsecs = usual_s
        self._retiring[name] = usual_s

    def _forget(self, name: str) -> None:
        """The first stays, stopped: the others are made from it."""
        self._retiring.pop(name, None)
        if numbered(name)[1] > 1:
            self._supervisord.remove_process_group(name)

    def _tidy(self, _tick: Any) -> None:
        for name in [name for name in self._retiring if name in self._supervisord.process_groups]:
            if self._supervisord.process_groups[name].processes[name].get_state() in STOPPED_STATES:
                self._forget(name)

    def _hurry(self, _stopping: Any) -> None:
        """Everything stops: what was to take its time hasn't it any more."""
        for name, wait_s in self._retiring.items():
            group = self._supervisord.process_groups.get(name)
            process = group.processes[name] if group is not None else None
            if process is not None and process.get_state() == ProcessStates.STOPPING:
                process.delay = time.time() + wait_s
                self._supervisord.options.kill(process.pid, signal.SIGTERM)
