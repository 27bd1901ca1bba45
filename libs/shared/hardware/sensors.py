"""One look at the machine, as the node's telemetry tells it: cheap enough for once a second on a small board."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from libs.shared.contracts.telemetry import Cpu, Gpu, Memory
from libs.shared.hardware.boards import ROOT, Board, read_board
from libs.shared.hardware.cgroups import MemoryLimit, cpu_seconds, memory_limits, read_groups
from libs.shared.hardware.firmware import Firmware
from libs.shared.hardware.gpus import jetson_reader, nvml
from libs.shared.hardware.power import Battery, PowerMeter
from libs.shared.hardware.sysfs import read_pairs, read_text
from libs.shared.hardware.thermal import Thermometer, ThrottleWatch, Throttling
from libs.shared.hardware.workers import read_capacity

_MIB = 1 << 20
SHORTEST_INTERVAL_S = 0.05
"""Below this a share of time is noise: the last one is told again."""


@dataclass(frozen=True)
class Sample:
    """The machine now; shares are over the time since the sample before."""

    cpu: Cpu
    memory: Memory
    temperature_c: float | None
    throttled: bool | None
    power_w: float
    power_measured: bool
    gpus: tuple[Gpu, ...]
    free_disk_mib: float
    power_source: str = "estimate"
    battery_share: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    throttled_since_boot: tuple[str, ...] = ()


@dataclass(frozen=True)
class CpuTimes:
    """Processor time so far: of the machine in ticks, of the control group in seconds."""

    at_s: float
    total: int
    idle: int
    group_s: float | None


def utilisation(before: CpuTimes, after: CpuTimes, quota: float | None) -> float:
    """0..1 of what may be used: of the group's quota where there is one, else of all processors."""
    if quota is not None and before.group_s is not None and after.group_s is not None:
        share = (after.group_s - before.group_s) / (quota * (after.at_s - before.at_s))
    else:
        total = after.total - before.total
        share = 1 - (after.idle - before.idle) / total if total > 0 else 0.0
    return round(min(1.0, max(0.0, share)), 4)


def memory_within(total_mib: float, available_mib: float, limits: tuple[MemoryLimit, ...]) -> Memory:
    """The machine's memory as the tightest of the control groups leaves it."""
    rooms = [max(0.0, limit.limit_mib - limit.used_mib) for limit in limits]
    return Memory(
        total_mib=round(min([total_mib, *(limit.limit_mib for limit in limits)]), 1),
        available_mib=round(min([available_mib, *rooms]), 1),
    )


def with_gpus(processor: Throttling, gpus: tuple[Gpu, ...]) -> Throttling:
    """A GPU that is held back holds its node back."""
    told = [gpu.throttled for gpu in gpus if gpu.throttled is not None]
    if not told:
        return processor
    reasons = (*processor.reasons, "gpu") if any(told) else processor.reasons
    return replace(processor, now=bool(processor.now) or any(told), reasons=reasons)


class Sensors:
    """``disk`` is a folder on the disk whose free space matters. Not for use by two threads at once.

    ``ask_driver``: whether the graphics driver of this process is asked; not by default for another machine's files.
    """

    def __init__(
        self,
        disk: Path,
        *,
        root: Path = ROOT,
        clock: Callable[[], float] = time.monotonic,
        machine: str | None = None,
        ask_driver: bool | None = None,
    ) -> None:
        self._root, self._clock, self._disk = root, clock, disk
        board = read_board(root, machine)
        capacity = read_capacity(root)
        self._quota = capacity.cpu_quota
        self._cores = min(float(capacity.logical_cores), capacity.cpu_quota or float("inf"))
        self._groups = read_groups(root)
        firmware = Firmware(root)
        self._thermometer, self._throttle = Thermometer(root), ThrottleWatch(root, firmware)
        self._power = PowerMeter(root, board.profile, firmware, clock())
        self._battery = Battery(root)
        self._gpus = self._gpu_reader(board, root == ROOT if ask_driver is None else ask_driver)
        self._times = self._read_times()
        self._utilisation = 0.0

    def _gpu_reader(self, board: Board, ask_driver: bool) -> Callable[[], tuple[Gpu, ...]]:
        if board.is_jetson:
            return jetson_reader(self._root, board, self._thermometer.gpu_c)
        library = nvml() if ask_driver else None
        return library.gpus if library else lambda: ()

    def sample(self) -> Sample:
        """A look at everything: some dozen small reads, and on a Raspberry Pi now and then a short program."""
        share = self._read_utilisation()
        gpus = self._gpus()
        power = self._power.read(self._clock(), share, sum(gpu.power_w or 0.0 for gpu in gpus))
        throttling = with_gpus(self._throttle.look(self._clock()), gpus)
        return Sample(
            cpu=Cpu(cores=self._cores, utilisation=share, load_1m=self._load_1m()),
            memory=self._read_memory(),
            temperature_c=self._thermometer.cpu_c(),
            throttled=throttling.now,
            power_w=power.watts,
            power_measured=power.measured,
            gpus=gpus,
            free_disk_mib=self._free_disk_mib(),
            power_source=power.source,
            battery_share=self._battery.share(),
            throttle_reasons=throttling.reasons,
            throttled_since_boot=throttling.since_boot,
        )

    def _read_times(self) -> CpuTimes:
        line = (read_text(self._root / "proc/stat") or "").partition("\n")[0]
        # user nice system idle iowait irq softirq steal; guests are counted in user already
        ticks = [int(field) for field in line.split()[1:9] if field.isdigit()]
        idle = sum(ticks[3:5])
        group_s = cpu_seconds(self._groups) if self._quota is not None else None
        return CpuTimes(self._clock(), sum(ticks), idle, group_s)

    def _read_utilisation(self) -> float:
        times = self._read_times()
        if times.at_s - self._times.at_s >= SHORTEST_INTERVAL_S:
            self._utilisation = utilisation(self._times, times, self._quota)
            self._times = times
        return self._utilisation

    def _load_1m(self) -> float:
        try:
            return float((read_text(self._root / "proc/loadavg") or "").split()[0])
        except (IndexError, ValueError):
            return 0.0

    def _read_memory(self) -> Memory:
        kib = read_pairs(self._root / "proc/meminfo")
        total = kib.get("MemTotal", 0) / 1024
        available = kib.get("MemAvailable", kib.get("MemFree", 0)) / 1024
        return memory_within(total, available, memory_limits(self._groups))

    def _free_disk_mib(self) -> float:
        try:
            status = os.statvfs(self._disk)
        except OSError:
            return 0.0
        return round(status.f_bavail * status.f_frsize / _MIB, 1)
