"""The processor's temperature, and whether heat, current or voltage holds it back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from libs.shared.hardware.sysfs import read_int, read_text

_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu-therm", "cpu0-thermal", "soc-thermal", "soc_thermal", "tj")
"""Types of thermal zones that tell of the processor, the best first; compared by how they begin, in lower case."""

_CHIPS = ("k10temp", "zenpower", "coretemp", "cpu_thermal")
"""Names of hwmon chips, for machines whose processor has no thermal zone (AMD)."""

_LAST_RESORT = "acpitz"
_GPU_ZONE = "gpu"
_PLAUSIBLE_C = (-40.0, 150.0)
_PI_NOW = 0b1111
"""Bits of get_throttled that say under-voltage, capped, throttled, hot now; the higher ones say "once since boot"."""

_BRAKES = re.compile(r"cpufreq|^Processor$|throttle", re.IGNORECASE)


def _rank(kind: str) -> int | None:
    for rank, start in enumerate((*_ZONES, _LAST_RESORT)):
        if kind.lower().startswith(start):
            return rank
    return None


def _celsius(path: Path | None) -> float | None:
    milli = read_int(path) if path else None
    if milli is None or not _PLAUSIBLE_C[0] <= milli / 1000 <= _PLAUSIBLE_C[1]:
        return None
    return milli / 1000


def _zones(root: Path) -> list[tuple[str, Path]]:
    found = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    return [(read_text(zone / "type") or "", zone / "temp") for zone in found]


def _chip_inputs(root: Path) -> list[tuple[int, Path]]:
    chips = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    named = [(read_text(chip / "name") or "", chip / "temp1_input") for chip in chips]
    return [(_CHIPS.index(name), path) for name, path in named if name in _CHIPS]


def _readable(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if _celsius(path) is not None), None)


class Thermometer:
    """Knows where to look from the first look on: finding costs more than reading."""

    def __init__(self, root: Path) -> None:
        zones = _zones(root)
        ranked = sorted((rank, path) for kind, path in zones if (rank := _rank(kind)) is not None)
        good = [path for rank, path in ranked if rank < len(_ZONES)]
        poor = [path for rank, path in ranked if rank == len(_ZONES)]
        self._cpu = _readable([*good, *(path for _, path in sorted(_chip_inputs(root))), *poor])
        self._gpu = _readable(path for kind, path in zones if kind.lower().startswith(_GPU_ZONE))

    def cpu_c(self) -> float | None:
        return _celsius(self._cpu)

    def gpu_c(self) -> float | None:
        """Of a GPU on the same chip (Jetson)."""
        return _celsius(self._gpu)


class ThrottleWatch:
    """Whether the processor is held back now, or was since the last look."""

    def __init__(self, root: Path) -> None:
        platform, cpu = root / "sys/devices/platform", root / "sys/devices/system/cpu"
        self._firmware = [*platform.glob("soc*/*firmware/get_throttled"), *platform.glob("*/*/*firmware/get_throttled")]
        self._alarms = [
            chip / "in0_lcrit_alarm"
            for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
            if read_text(chip / "name") == "rpi_volt"
        ]
        devices = sorted((root / "sys/class/thermal").glob("cooling_device*"))
        self._brakes = [d / "cur_state" for d in devices if _BRAKES.search(read_text(d / "type") or "")]
        events = (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")
        # One processor of each package would do, but which those are changes with hot-plugging.
        counters = [*cpu.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"), *events]
        self._counts = {path: read_int(path) for path in sorted(counters)}

    def throttled(self) -> bool | None:
        """None where the machine has no way to say."""
        signs = [*self._signs(), *self._counted()]
        return any(signs) if signs else None

    def _signs(self) -> list[bool]:
        words = [read_int(path, 16) for path in self._firmware]
        levels = [read_int(path) for path in (*self._alarms, *self._brakes)]
        return [word & _PI_NOW != 0 for word in words if word is not None] + [
            level > 0 for level in levels if level is not None
        ]

    def _counted(self) -> list[bool]:
        before, self._counts = self._counts, {path: read_int(path) for path in self._counts}
        return [
            count > before_count
            for path, count in self._counts.items()
            if count is not None and (before_count := before[path]) is not None
        ]
