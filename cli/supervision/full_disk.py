"""Restarting the broker after its disk was full: a stream that once failed to write refuses until then."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.states import ProcessStates

ENOUGH_BYTES = 64 * 2**20
"""Free space with which the broker is worth restarting."""
_COMPLAINT = b"no space left on device"
_MOST_READ_BYTES = 256 * 1024


class FullDiskWatch:
    """Reads every few seconds what the broker logged, and ends it once there is room; supervisord starts it again.

    ``free_bytes`` tells the room on the disk of a path.
    """

    def __init__(self, supervisord: Any, broker: str, free_bytes: Callable[[Path], int] | None = None) -> None:
        self._supervisord = supervisord
        self._broker = broker
        self._free_bytes = free_bytes or (lambda path: shutil.disk_usage(path).free)
        self._read_to = 0
        self._pid = 0
        self._failed = False
        events.subscribe(events.Tick5Event, self._look)

    def _look(self, _tick: Any) -> None:
        group = self._supervisord.process_groups.get(self._broker)
        if group is None:
            return
        process = group.processes[self._broker]
        log = Path(process.config.stdout_logfile)
        complaint = _COMPLAINT in self._news(log)
        if process.pid != self._pid:
            # what the one before it complained of is over
            self._pid, self._failed = process.pid, False
            return
        self._failed = self._failed or complaint
        running = process.get_state() == ProcessStates.RUNNING
        if self._failed and running and self._free_bytes(log.parent) >= ENOUGH_BYTES:
            self._supervisord.options.logger.warn("ending the broker, whose disk was full, so that it writes again")
            self._failed = False
            os.kill(process.pid, signal.SIGTERM)

    def _news(self, log: Path) -> bytes:
        try:
            size = log.stat().st_size
            with log.open("rb") as file:
                start = self._read_to if self._read_to <= size else 0  # supervisord begins a new file now and then
                file.seek(max(start, size - _MOST_READ_BYTES))
                found = file.read(_MOST_READ_BYTES)
        except OSError:
            return b""
        self._read_to = size
        return found
