"""Watts that the machine draws: measured where something measures them, else an estimate that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.shared.hardware.boards import Profile
from libs.shared.hardware.sysfs import read_int, read_text

_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "5V_IN")
"""Rails of an INA3221 through which everything else is fed."""


@dataclass(frozen=True)
class Power:
    """``measured`` False: from the board's envelope and its load."""

    watts: float
    measured: bool


class Meter(Protocol):
    """Something that measures; None while it can't."""

    def watts(self, now: float) -> float | None: ...


class Rails:
    """The INA3221 monitors of a Jetson: the input rail, or the sum of all named rails where there is none."""

    def __init__(self, root: Path) -> None:
        chips = [c for c in sorted((root / "sys/class/hwmon").glob("hwmon*")) if read_text(c / "name") == "ina3221"]
        named = {
            label.parent / label.name.removesuffix("_label"): read_text(label) or ""
            for chip in chips
            for label in sorted(chip.glob("in[0-9]_label"))
        }
        # A channel without a shunt is labelled NC, and the seventh is the chip's own sum.
        rails = {p: name for p, name in named.items() if name not in ("", "NC") and not name.startswith("sum")}
        whole = [path for path, name in rails.items() if name in _WHOLE_BOARD]
        self._channels = whole[:1] or list(rails)

    def watts(self, now: float) -> float | None:
        readings = [self._milliwatts(channel) for channel in self._channels]
        known = [reading for reading in readings if reading is not None]
        return sum(known) / 1000 if known and len(known) == len(readings) else None

    @staticmethod
    def _milliwatts(channel: Path) -> float | None:
        number = channel.name.removeprefix("in")
        millivolts, milliamperes = read_int(Path(f"{channel}_input")), read_int(channel.parent / f"curr{number}_input")
        return millivolts * milliamperes / 1000 if millivolts is not None and milliamperes is not None else None


class Battery:
    """A battery that is being emptied feeds everything."""

    def __init__(self, root: Path) -> None:
        self._packs = sorted((root / "sys/class/power_supply").glob("BAT*"))

    def watts(self, now: float) -> float | None:
        drawn = [w for pack in self._packs if (w := self._drawn(pack)) is not None]
        return sum(drawn) if drawn else None

    @staticmethod
    def _drawn(pack: Path) -> float | None:
        if read_text(pack / "status") != "Discharging":
            return None
        microwatts = read_int(pack / "power_now")
        if microwatts is not None:
            return abs(microwatts) / 1e6
        microamperes, microvolts = read_int(pack / "current_now"), read_int(pack / "voltage_now")
        return abs(microamperes) * microvolts / 1e12 if microamperes is not None and microvolts is not None else None


class EnergyCounters:
    """RAPL: the platform's counter where there is one, else the packages'. Often readable by root alone."""

    def __init__(self, root: Path, now: float) -> None:
        # "intel-rapl:0" is a package and "intel-rapl:0:1" a part of it; AMD's are named so too.
        zones = [z for z in sorted((root / "sys/class/powercap").glob("intel-rapl:*")) if z.name.count(":") == 1]
        platform = [zone for zone in zones if read_text(zone / "name") == "psys"]
        packages = [zone for zone in zones if (read_text(zone / "name") or "").startswith("package")]
        self._zones = platform or packages
        self._before = (now, self._read())

    def _read(self) -> tuple[int | None, ...]:
        return tuple(read_int(zone / "energy_uj") for zone in self._zones)

    def watts(self, now: float) -> float | None:
        (before_at, before), counts = self._before, self._read()
        if now <= before_at or not counts:
            return None
        self._before = (now, counts)
        used = [self._used(*pair) for pair in zip(self._zones, before, counts, strict=True)]
        known = [microjoules for microjoules in used if microjoules is not None]
        return sum(known) / 1e6 / (now - before_at) if len(known) == len(used) else None

    @staticmethod
    def _used(zone: Path, before: int | None, count: int | None) -> int | None:
        if before is None or count is None:
            return None
        if count >= before:
            return count - before
        span = read_int(zone / "max_energy_range_uj")
        return span - before + count if span is not None else None


def estimate(profile: Profile, utilisation: float) -> float:
    """Between the board's idle and busy watts, in proportion to the load."""
    return profile.idle_w + (profile.busy_w - profile.idle_w) * min(1.0, max(0.0, utilisation))


class PowerMeter:
    """The first of battery, rails and energy counters that answers, else an estimate."""

    def __init__(self, root: Path, profile: Profile, now: float) -> None:
        self._profile = profile
        self._meters: tuple[Meter, ...] = (Battery(root), Rails(root), EnergyCounters(root, now))

    def read(self, now: float, utilisation: float) -> Power:
        """``now`` in seconds of a clock that only goes forward."""
        for meter in self._meters:
            watts = meter.watts(now)
            if watts is not None:
                return Power(round(watts, 3), measured=True)
        return Power(round(estimate(self._profile, utilisation), 3), measured=False)
