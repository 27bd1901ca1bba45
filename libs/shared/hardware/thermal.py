"""The processor's temperature, and whether heat, current or voltage holds it back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from libs.shared.hardware.firmware import Firmware
from libs.shared.hardware.sysfs import read_int, read_text

_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu-therm", "cpu0-thermal", "soc-thermal", "soc_thermal", "tj")
"""Types of thermal zones that tell of the processor, the best first; compared by how they begin, in lower case."""

_CHIPS = ("k10temp", "zenpower", "coretemp", "cpu_thermal")
"""Names of hwmon chips, for machines whose processor has no thermal zone (AMD)."""

_LAST_RESORT = "acpitz"
_GPU_ZONE = "gpu"
_PLAUSIBLE_C = (-40.0, 150.0)
_PI_BITS = ("under-voltage", "frequency-capped", "throttled", "soft-temperature-limit")
"""Of get_throttled, from bit 0 on: what holds now. The same from bit 16 on: what held at any time since boot."""
_PI_SINCE_BOOT = 16

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


@dataclass(frozen=True)
class Throttling:
    """``now`` None: the machine has no way to say. The words are ``heat``, ``over-current``, and those of a Pi."""

    now: bool | None
    reasons: tuple[str, ...] = ()
    """What holds the processor back now, or did since the last look."""
    since_boot: tuple[str, ...] = ()
    """What did at any time since the machine was started."""


class ThrottleWatch:
    """Whether the processor is held back now, or was since the last look."""

    def __init__(self, root: Path, firmware: Firmware) -> None:
        platform, cpu = root / "sys/devices/platform", root / "sys/devices/system/cpu"
        self._words = [*platform.glob("soc*/*firmware/get_throttled"), *platform.glob("*/*/*firmware/get_throttled")]
        self._firmware = firmware
        self._alarms = [
            chip / "in0_lcrit_alarm"
            for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
            if read_text(chip / "name") == "rpi_volt"
        ]
        devices = sorted((root / "sys/class/thermal").glob("cooling_device*"))
        self._brakes = [d / "cur_state" for d in devices if _BRAKES.search(read_text(d / "type") or "")]
        # One processor of each package would do, but which those are changes with hot-plugging.
        heats = sorted(cpu.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        events = sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"))
        self._causes = dict.fromkeys(heats, "heat") | dict.fromkeys(events, "over-current")
        self._counts = {path: read_int(path) for path in self._causes}

    def look(self, now_s: float) -> Throttling:
        """``now_s`` of a clock that only goes forward."""
        told: dict[str, bool] = {}
        before: set[str] = set()
        for word in self._limits(now_s):
            told |= {name: bool(word >> bit & 1) for bit, name in enumerate(_PI_BITS)}
            before |= {name for bit, name in enumerate(_PI_BITS, _PI_SINCE_BOOT) if word >> bit & 1}
        for cause, holds in (*self._levels(), *self._counted(before)):
            told[cause] = told.get(cause, False) or holds
        reasons = tuple(sorted(cause for cause, holds in told.items() if holds))
        return Throttling(bool(reasons) if told else None, reasons, tuple(sorted(before)))

    def _limits(self, now_s: float) -> list[int]:
        """The firmware's word, from the kernel or else by asking."""
        words = [word for path in self._words if (word := read_int(path, 16)) is not None and word >= 0]
        asked = self._firmware.limits(now_s) if not words else None
        return words if asked is None else [asked]

    def _levels(self) -> list[tuple[str, bool]]:
        causes = [("under-voltage", path) for path in self._alarms] + [("heat", path) for path in self._brakes]
        return [(cause, level > 0) for cause, path in causes if (level := read_int(path)) is not None]

    def _counted(self, before: set[str]) -> list[tuple[str, bool]]:
        last, self._counts = self._counts, {path: read_int(path) for path in self._causes}
        found = []
        for path, count in self._counts.items():
            if count is None:
                continue
            before |= {self._causes[path]} if count > 0 else set()
            known = last[path]
            if known is not None:
                found.append((self._causes[path], count > known))
        return found
