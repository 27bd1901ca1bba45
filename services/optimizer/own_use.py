"""How many processors idle work uses now, so that it doesn't take itself for somebody who needs the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from services.optimizer.gate import Gate

LEAST_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


class OwnUse:
    """Processors' worth of time that the gate's processes used over the last half second or more."""

    def __init__(self, gate: Gate, clock: Callable[[], float] = monotonic) -> None:
        self._gate = gate
        self._clock = clock
        self._at = clock()
        self._used: dict[int, float] = {}
        self._cores = 0.0

    def __call__(self) -> float:
        if not self._gate.processes:
            self._cores = 0.0
        now = self._clock()
        if now - self._at >= LEAST_S:
            used = {process.pid: cpu_s(process.pid) for process in self._gate.processes}
            grown = sum(max(0.0, seconds - self._used.get(pid, 0.0)) for pid, seconds in used.items())
            self._cores = grown / (now - self._at)
            self._at, self._used = now, used
        return self._cores


def cpu_s(pid: int, proc: Path = Path("/proc")) -> float:
    """Of a process and its children that have ended; 0 for one that isn't there."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
