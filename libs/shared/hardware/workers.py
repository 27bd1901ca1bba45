"""How many workers this machine carries: by its board, its physical cores, its control groups and its memory."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from libs.shared.hardware.boards import ROOT, Board, read_board
from libs.shared.hardware.cgroups import allowed_cpus, cpu_limit, memory_limits, read_groups
from libs.shared.hardware.sysfs import read_cpu_list, read_pairs

MEMORY_PER_WORKER_MIB = 512
"""What a worker takes whose caller doesn't know better: a small quantised model's, or a busy API process's."""


@dataclass(frozen=True)
class Capacity:
    """What this process may use."""

    physical_cores: int
    """Cores, not hyper-threads, that it may run on."""
    logical_cores: int
    cpu_quota: float | None
    """Cores' worth of time that a control group grants."""
    memory_mib: float
    """The machine's memory, or the tightest control group's."""


@dataclass(frozen=True)
class Recommendation:
    """``reason`` names what set the bound: ``cores``, ``cpu_quota``, ``memory`` or ``minimum``."""

    workers: int
    reason: str


def _online(root: Path) -> frozenset[int]:
    found = read_cpu_list(root / "sys/devices/system/cpu/online")
    if found:
        return found
    # No sysfs (some containers): the processors that /proc/stat counts.
    stat = read_pairs(root / "proc/stat")
    numbers = (name[3:] for name in stat if name.startswith("cpu"))
    return frozenset(int(number) for number in numbers if number.isdigit()) or frozenset({0})


def _physical(root: Path, cpus: frozenset[int]) -> int:
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = read_cpu_list(topology / "core_cpus_list") or read_cpu_list(topology / "thread_siblings_list")
        cores.add(siblings or frozenset({cpu}))
    return len(cores)


def _affinity(root: Path) -> frozenset[int] | None:
    """The processors that the kernel lets this process run on; a recorded machine has none."""
    return frozenset(os.sched_getaffinity(0)) if root == ROOT and hasattr(os, "sched_getaffinity") else None


def read_capacity(root: Path = ROOT) -> Capacity:
    """What this process may use of the machine below ``root``."""
    groups = read_groups(root)
    cpus = _online(root)
    for allowed in (allowed_cpus(groups), _affinity(root)):
        cpus = (cpus & allowed if allowed is not None else cpus) or cpus
    total_mib = read_pairs(root / "proc/meminfo").get("MemTotal", 1024 * 1024) / 1024
    return Capacity(
        physical_cores=_physical(root, cpus),
        logical_cores=len(cpus),
        cpu_quota=cpu_limit(groups),
        memory_mib=min([total_mib, *(limit.limit_mib for limit in memory_limits(groups))]),
    )


def recommend(board: Board, capacity: Capacity, memory_per_worker_mib: int) -> Recommendation:
    """Workers that neither fight over a core nor push each other out of memory; at least one."""
    spare = board.profile.spare_cores if capacity.physical_cores > 2 else 0
    bounds = {
        "cores": capacity.physical_cores - spare,
        "memory": int(capacity.memory_mib * board.profile.model_memory_share // memory_per_worker_mib),
    }
    if capacity.cpu_quota is not None:
        bounds["cpu_quota"] = math.floor(capacity.cpu_quota + 0.05)
    reason = min(bounds, key=lambda name: bounds[name])
    return Recommendation(bounds[reason], reason) if bounds[reason] >= 1 else Recommendation(1, "minimum")


def recommended_worker_count(memory_per_worker_mib: int = MEMORY_PER_WORKER_MIB, *, root: Path = ROOT) -> int:
    """How many workers of ``memory_per_worker_mib`` each this process should start."""
    if memory_per_worker_mib < 1:
        raise ValueError("a worker takes memory")
    return recommend(read_board(root), read_capacity(root), memory_per_worker_mib).workers
