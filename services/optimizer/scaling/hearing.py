"""What workers and nodes tell, as the decision takes it: how busy the workers of a name are, and what there is room
for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from time import monotonic
from typing import TypeVar

import psutil

from libs.shared.contracts.base import Principal
from libs.shared.contracts.scaling import SEVERAL, TOLD_EVERY_S, WorkerTold
from libs.shared.contracts.scheduling import Preempt
from libs.shared.contracts.telemetry import NodeTelemetry
from libs.shared.contracts.watching import TurnMeasured
from libs.shared.hardware.workers import MEMORY_PER_WORKER_MIB
from services.optimizer.scaling.deciding import Load, Room

MOST_WORKERS = 256
MOST_NODES = 64
SILENT_S = 4 * TOLD_EVERY_S
NODE_SILENT_S = 10.0
LATE_S = 0.25
"""An event loop that comes round so late lets requests wait for the worker itself."""
REFUSED_S = 10.0
"""So long after a turn that nobody took, workers count as too few."""
SPARE_SHARE = 0.1
"""Of the memory, what stays free."""
FULL_CPU = 0.95
"""Of the machine's processors: another process would get none."""
_MIB = 1 << 20
T = TypeVar("T")


def service_of(name: str) -> str:
    """Of which service the workers of a name are: ``inference-gpu`` of inference. Pure."""
    return name.partition("-")[0]


class Heard:
    """``node_id``: this machine's node. ``hot_c``: from there on nothing is added."""

    def __init__(self, node_id: str | None, hot_c: float, clock: Callable[[], float] = monotonic) -> None:
        self._node_id, self._hot_c, self._clock = node_id, hot_c, clock
        self._workers: dict[str, dict[str, tuple[float, WorkerTold]]] = {one.value: {} for one in SEVERAL}
        self._nodes: dict[str, tuple[float, NodeTelemetry]] = {}
        self._refused_s = float("-inf")
        self.asked_s: float | None = None
        """When somebody asked for something last."""

    # ------------------------------------------------------------------ hearing

    async def worker(self, service: str, told: WorkerTold) -> None:
        """WORKER."""
        known = self._workers[service]
        if told.worker in known or len(known) < MOST_WORKERS:
            known[told.worker] = (self._clock(), told)

    async def node(self, told: NodeTelemetry) -> None:
        """NODE."""
        if told.node_id in self._nodes or len(self._nodes) < MOST_NODES:
            self._nodes[told.node_id] = (self._clock(), told)

    async def unanswered(self, _turn: TurnMeasured) -> None:
        """TURN_UNANSWERED."""
        self._refused_s = self._clock()

    async def asked(self, _told: Preempt) -> None:
        """PREEMPT."""
        self.asked_s = self._clock()

    # ------------------------------------------------------------------ telling

    def load(self, name: str) -> Load | None:
        """None: nothing tells of it."""
        now, service = self._clock(), service_of(name)
        if service in self._workers:
            return self._of_workers(service, now)
        return self._of_nodes(now) if service == Principal.INFERENCE else None

    def room(self, name: str) -> Room:
        """On this machine."""
        told = self._here()
        if told is not None and (told.throttled or (told.temperature_c or 0.0) >= self._hot_c):
            return Room(0, "the machine is too hot, or held back")
        if told is not None and told.cpu.utilisation >= FULL_CPU:
            return Room(0, "the processors are used up")
        total, available = _memory_mib() if told is None else (told.memory.total_mib, told.memory.available_mib)
        carried = int(max(0.0, available - SPARE_SHARE * total) // self._memory_of(name))
        return Room(carried, "there is no memory for another")

    def _here(self) -> NodeTelemetry | None:
        at_s, told = self._nodes.get(self._node_id or "", (float("-inf"), None))
        return told if self._clock() - at_s <= NODE_SILENT_S else None

    def _memory_of(self, name: str) -> float:
        told = [one.memory_mib for _, one in self._workers.get(service_of(name), {}).values()]
        return max(told, default=float(MEMORY_PER_WORKER_MIB)) or float(MEMORY_PER_WORKER_MIB)

    def _of_workers(self, service: str, now: float) -> Load | None:
        self._workers[service] = _heard_lately(self._workers[service], now, SILENT_S)
        told = [one for _, one in self._workers[service].values() if not one.leaving]
        refused = now - self._refused_s <= REFUSED_S
        if not told:
            return Load(now, 1.0, waits=True) if refused else None
        late = fmean(one.late_s for one in told) >= LATE_S
        return Load(now, fmean(one.busy for one in told), waits=late or refused)

    def _of_nodes(self, now: float) -> Load | None:
        self._nodes = _heard_lately(self._nodes, now, NODE_SILENT_S)
        replicas = [one for _, node in self._nodes.values() for one in node.replicas if not one.draining]
        if not replicas:
            return None
        asked = sum(max(0, one.in_flight + one.queued - one.background) for one in replicas)
        waits = any(one.queued > one.background for one in replicas)
        return Load(now, asked / max(1, sum(one.slots for one in replicas)), waits=waits)


def _memory_mib() -> tuple[float, float]:
    memory = psutil.virtual_memory()
    return memory.total / _MIB, memory.available / _MIB


def _heard_lately(found: Mapping[str, tuple[float, T]], now: float, silent_s: float) -> dict[str, tuple[float, T]]:
    return {name: one for name, one in found.items() if now - one[0] <= silent_s}
