"""What the control groups (version 2 or 1) above this process let it use, and what they have used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from libs.shared.hardware.sysfs import read_cpu_list, read_int, read_pairs, read_text

_MIB = 1 << 20
_UNLIMITED_V1 = 1 << 60
"""Version 1 says "no limit" by a number near 2^63 that depends on the page size."""


@dataclass(frozen=True)
class Groups:
    """The folders of this process's groups, from its own up to the root, by controller; empty where there is none."""

    version: int
    cpu: tuple[Path, ...]
    cpu_usage: tuple[Path, ...]
    cpuset: tuple[Path, ...]
    memory: tuple[Path, ...]


def _lineage(mount: Path, path: str) -> tuple[Path, ...]:
    parts = PurePosixPath(path).parts[1:]
    folders = [mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]
    # Inside a container the path is often the host's, and only the mount itself is there.
    return tuple(folder for folder in folders if folder.is_dir())


def _memberships(root: Path) -> dict[str, str]:
    """Controller → path; version 2's under ``""``."""
    found: dict[str, str] = {}
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def read_groups(root: Path) -> Groups:
    """This process's groups."""
    base = root / "sys/fs/cgroup"
    members = _memberships(root)
    if (base / "cgroup.controllers").exists():
        lineage = _lineage(base, members.get("", "/"))
        return Groups(2, lineage, lineage, lineage, lineage)

    def of(controller: str) -> tuple[Path, ...]:
        return _lineage(base / controller, members.get(controller, "/"))

    return Groups(1, of("cpu"), of("cpuacct"), of("cpuset"), of("memory"))


def _quota(folder: Path, version: int) -> float | None:
    if version == 2:
        quota, _, period = (read_text(folder / "cpu.max") or "max").partition(" ")
        return int(quota) / int(period or 100_000) if quota.isdigit() else None
    quota_us, period_us = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def cpu_limit(groups: Groups) -> float | None:
    """Cores' worth of time that the tightest group allows; None without a limit."""
    quotas = [quota for folder in groups.cpu if (quota := _quota(folder, groups.version)) is not None]
    return min(quotas, default=None)


def allowed_cpus(groups: Groups) -> frozenset[int] | None:
    """The processors that the group may run on; None when nothing says."""
    name = "cpuset.cpus.effective" if groups.version == 2 else "cpuset.cpus"
    for folder in groups.cpuset:
        found = read_cpu_list(folder / name)
        if found is not None:
            return found
    return None


def cpu_seconds(groups: Groups) -> float | None:
    """Processor time that the limited group has used so far: the one whose limit is the tightest, or its own."""
    limited = [folder for folder in groups.cpu if _quota(folder, groups.version) is not None]
    if groups.version == 2:
        folder = min(limited, key=lambda f: _quota(f, 2) or 0.0) if limited else next(iter(groups.cpu), None)
        used = read_pairs(folder / "cpu.stat").get("usage_usec") if folder else None
        return used / 1e6 if used is not None else None
    used_ns = read_int(groups.cpu_usage[0] / "cpuacct.usage") if groups.cpu_usage else None
    return used_ns / 1e9 if used_ns is not None else None


@dataclass(frozen=True)
class MemoryLimit:
    """One group's bound, and what it uses that can't be reclaimed at once."""

    limit_mib: float
    used_mib: float


def _memory_limit(folder: Path, version: int) -> MemoryLimit | None:
    if version == 2:
        limits = [read_int(folder / "memory.max"), read_int(folder / "memory.high")]
        used, reclaimable = read_int(folder / "memory.current"), "inactive_file"
    else:
        limits = [read_int(folder / "memory.limit_in_bytes")]
        used, reclaimable = read_int(folder / "memory.usage_in_bytes"), "total_inactive_file"
    bounds = [limit for limit in limits if limit is not None and limit < _UNLIMITED_V1]
    if not bounds:
        return None
    cached = read_pairs(folder / "memory.stat").get(reclaimable, 0)
    return MemoryLimit(min(bounds) / _MIB, max(0, (used or 0) - cached) / _MIB)


def memory_limits(groups: Groups) -> tuple[MemoryLimit, ...]:
    """Every bound above this process, its own group's first."""
    found = (_memory_limit(folder, groups.version) for folder in groups.memory)
    return tuple(limit for limit in found if limit is not None)
