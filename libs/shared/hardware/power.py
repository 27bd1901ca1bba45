"""Watts that the machine draws: measured where something measures them, else an estimate that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.shared.hardware.boards import Profile
from libs.shared.hardware.firmware import Firmware
from libs.shared.hardware.sysfs import read_int, read_text

_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "5V_IN")
"""Rails of an INA3221 through which everything else is fed."""


@dataclass(frozen=True)
class Power:
    """``source``: ``battery`` or ``board``, which are all that the machine draws; ``processor``, which leaves out
    disks, memory and losses; ``estimate``, by its envelope and load. GPUs that measure themselves are in it."""

    watts: float
    source: str

    @property
    def measured(self) -> bool:
        return self.source != "estimate"


class Meter(Protocol):
    """Something that measures; None while it can't."""

    def watts(self, now: float) -> float | None: ...


@dataclass(frozen=True)
class Rail:
    """``files``: one of milliwatts, or one of millivolts and one of milliamperes."""

    name: str
    files: tuple[Path, ...]

    def milliwatts(self) -> float | None:
        values = [value for path in self.files if (value := read_int(path)) is not None]
        if len(values) < len(self.files):
            return None
        return values[0] if len(values) == 1 else values[0] * values[1] / 1000


class Rails:
    """The INA3221 monitors of a Jetson: the input rail, or the sum of all named rails where there is none.

    From JetPack 5 on they are hwmon chips; in JetPack 4, the last for a Jetson Nano, devices of iio.
    """

    def __init__(self, root: Path) -> None:
        rails = self._of_hwmon(root) or self._of_iio(root)
        whole = [rail for rail in rails if rail.name in _WHOLE_BOARD]
        self._rails = whole[:1] or rails

    @staticmethod
    def _of_hwmon(root: Path) -> list[Rail]:
        chips = [c for c in sorted((root / "sys/class/hwmon").glob("hwmon*")) if read_text(c / "name") == "ina3221"]
        named = {
            label.parent / label.name.removesuffix("_label"): read_text(label) or ""
            for chip in chips
            for label in sorted(chip.glob("in[0-9]_label"))
        }
        # A channel without a shunt is labelled NC, and the seventh is the chip's own sum.
        return [
            Rail(name, (Path(f"{path}_input"), path.parent / f"curr{path.name.removeprefix('in')}_input"))
            for path, name in named.items()
            if name not in ("", "NC") and not name.startswith("sum")
        ]

    @staticmethod
    def _of_iio(root: Path) -> list[Rail]:
        labels = sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*/rail_name_[0-9]"))
        return [
            Rail(name, (label.parent / f"in_power{label.name[-1]}_input",))
            for label in labels
            if (name := read_text(label) or "") not in ("", "NC")
        ]

    def watts(self, now: float) -> float | None:
        readings = [rail.milliwatts() for rail in self._rails]
        known = [reading for reading in readings if reading is not None]
        return sum(known) / 1000 if known and len(known) == len(readings) else None


class Battery:
    """A battery that is being emptied feeds everything."""

    def __init__(self, root: Path) -> None:
        self._packs = sorted((root / "sys/class/power_supply").glob("BAT*"))

    def watts(self, now: float) -> float | None:
        drawn = [w for pack in self._packs if (w := self._drawn(pack)) is not None]
        return sum(drawn) if drawn else None

    def share(self) -> float | None:
        """How full they are on average, 0 to 1; None: there is none, or none says it."""
        told = [percent for pack in self._packs if (percent := read_int(pack / "capacity")) is not None]
        return round(min(1.0, max(0.0, sum(told) / len(told) / 100)), 3) if told else None

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
        self.of_platform = bool(platform)
        """Whether it counts what the whole machine draws."""
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
    """The first that answers of battery, rails, a Pi's power chip and energy counters; else an estimate."""

    def __init__(self, root: Path, profile: Profile, firmware: Firmware, now: float) -> None:
        self._profile = profile
        counters = EnergyCounters(root, now)
        self._meters: tuple[tuple[Meter, str], ...] = (
            (Battery(root), "battery"),
            (Rails(root), "board"),
            (firmware, "board"),
            (counters, "board" if counters.of_platform else "processor"),
        )

    def read(self, now: float, utilisation: float, gpus_w: float = 0.0) -> Power:
        """``now`` in seconds of a clock that only goes forward; ``gpus_w`` is what GPUs say that they draw, and is
        added where the machine's own meter can't see them."""
        for meter, source in self._meters:
            watts = meter.watts(now)
            if watts is not None:
                return Power(round(watts + (gpus_w if source == "processor" else 0.0), 3), source)
        return Power(round(estimate(self._profile, utilisation) + gpus_w, 3), "estimate")
