"""What supervisord runs inside itself for mongars: counts restarts, bounds its back-off, wakes it, scales."""

from __future__ import annotations

import time
from typing import Any

from supervisor import events
from supervisor.states import ProcessStates, getProcessStateDescription

from cli.supervision.full_disk import FullDiskWatch
from cli.supervision.programs import BROKER
from cli.supervision.waking import Waker
from cli.supervision.workers import Workers

MOST_BACKOFF_S = 15


class Interface:
    """The XML-RPC namespace ``mongars``."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._restarts: dict[str, int] = {}
        self._workers = Workers(supervisord)
        events.subscribe(events.ProcessStateEvent, self._changed)

    def _changed(self, event: Any) -> None:
        process = event.process
        if isinstance(event, events.ProcessStateBackoffEvent):
            # it would wait a second more after each failure, without end
            process.backoff = min(process.backoff, MOST_BACKOFF_S)
            process.delay = time.time() + process.backoff
        died = event.from_state in (ProcessStates.EXITED, ProcessStates.BACKOFF)
        if died and isinstance(event, events.ProcessStateStartingEvent):
            self._restarts[process.config.name] = self._restarts.get(process.config.name, 0) + 1

    def report(self) -> list[dict[str, Any]]:
        """Every process: name, state, pid (0: none), restarts, and how it last ended."""
        processes = [p for group in self._supervisord.process_groups.values() for p in group.processes.values()]
        return [self._row(process) for process in sorted(processes, key=lambda p: p.config.priority)]

    def workers(self) -> dict[str, dict[str, int]]:
        """Of each service that may have several processes, how many run and how many are meant to."""
        return self._workers.counts()

    def scale(self, service: str, count: int) -> bool:
        """So many processes of ``service`` and no more; refuses any other program's name."""
        return self._workers.scale(service, count)

    def _row(self, process: Any) -> dict[str, Any]:
        return {
            "name": process.config.name,
            "state": getProcessStateDescription(process.get_state()).lower(),
            "pid": process.pid,
            "restarts": self._restarts.get(process.config.name, 0),
            "problem": process.spawnerr or "",
        }


def make(supervisord: Any, **_options: str) -> Interface:
    """supervisord's factory for the section ``[rpcinterface:mongars]``."""
    FullDiskWatch(supervisord, BROKER)
    Waker(supervisord)
    return Interface(supervisord)
