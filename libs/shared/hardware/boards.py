"""Which board this is: its name, family and power envelope from the device tree or the firmware's tables."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from libs.shared.hardware.sysfs import read_text

ROOT = Path("/")


class Family(StrEnum):
    """Boards that are treated alike."""

    PI_3 = "pi-3"
    PI_4 = "pi-4"
    PI_5 = "pi-5"
    JETSON_NANO = "jetson-nano"
    JETSON_XAVIER_NX = "jetson-xavier-nx"
    JETSON_AGX_XAVIER = "jetson-agx-xavier"
    JETSON_ORIN_NANO = "jetson-orin-nano"
    JETSON_ORIN_NX = "jetson-orin-nx"
    JETSON_AGX_ORIN = "jetson-agx-orin"
    ARM_64 = "arm64"
    X86_64 = "x86-64"


@dataclass(frozen=True)
class Profile:
    """What is known of a family beforehand."""

    idle_w: float
    busy_w: float
    """The whole board with every core busy."""
    spare_cores: int
    """Cores left to the broker, the database and the other services."""
    model_memory_share: float
    """Share of the memory that workers may take; a Jetson's GPU lives off the same memory."""
    source: str
    """Of the watts."""


_DRAMBLE = "J. Geerling, Power Consumption Benchmarks, pidramble.com: idle, and stress --cpu 4"
_NVPMODEL = "NVIDIA, Jetson Linux Developer Guide, nvpmodel: the default mode's budget; idle is a guess"
_NOBODY = "a guess: such machines differ by a factor of five"
PROFILES: dict[Family, Profile] = {
    Family.PI_3: Profile(1.9, 5.0, 2, 0.5, f"{_DRAMBLE} (3 B+)"),
    Family.PI_4: Profile(2.7, 6.4, 1, 0.75, f"{_DRAMBLE} (4 B)"),
    Family.PI_5: Profile(
        3.0, 8.8, 1, 0.75, "geerlingguy/sbc-reviews, issue 21: between 7.9 W metered and 9.9 W supposed"
    ),
    Family.JETSON_NANO: Profile(1.5, 10.0, 1, 0.5, _NVPMODEL),
    Family.JETSON_XAVIER_NX: Profile(4.0, 20.0, 1, 0.5, _NVPMODEL),
    Family.JETSON_AGX_XAVIER: Profile(8.0, 30.0, 1, 0.5, _NVPMODEL),
    Family.JETSON_ORIN_NANO: Profile(4.5, 15.0, 1, 0.5, _NVPMODEL),
    Family.JETSON_ORIN_NX: Profile(5.0, 25.0, 1, 0.5, _NVPMODEL),
    Family.JETSON_AGX_ORIN: Profile(9.0, 60.0, 1, 0.5, _NVPMODEL),
    Family.ARM_64: Profile(5.0, 20.0, 1, 0.75, _NOBODY),
    Family.X86_64: Profile(15.0, 65.0, 1, 0.75, _NOBODY),
}
"""Watts of the whole board without what hangs on it, for estimates alone: where it measures, that is told instead."""

_MODELS: tuple[tuple[str, Family], ...] = (
    (r"Raspberry Pi (5|500|Compute Module 5)\b", Family.PI_5),
    (r"Raspberry Pi (4|400|Compute Module 4)", Family.PI_4),
    (r"Raspberry Pi (3|Zero 2|Compute Module 3)", Family.PI_3),
    (r"AGX Orin", Family.JETSON_AGX_ORIN),
    (r"Orin NX", Family.JETSON_ORIN_NX),
    (r"Orin Nano", Family.JETSON_ORIN_NANO),
    (r"Xavier NX", Family.JETSON_XAVIER_NX),
    (r"AGX Xavier|Jetson-AGX", Family.JETSON_AGX_XAVIER),
    (r"Jetson Nano", Family.JETSON_NANO),
)


@dataclass(frozen=True)
class Board:
    """``name`` as the maker wrote it."""

    name: str
    family: Family

    @property
    def profile(self) -> Profile:
        return PROFILES[self.family]

    @property
    def is_jetson(self) -> bool:
        return self.family.startswith("jetson")


def family_of(model: str, machine: str) -> Family:
    """The family of a device tree's model; of the architecture where it names none that is known."""
    for pattern, family in _MODELS:
        if re.search(pattern, model):
            return family
    return Family.ARM_64 if machine in ("aarch64", "arm64") else Family.X86_64


def read_board(root: Path = ROOT, machine: str | None = None) -> Board:
    """The board below ``root``; ``machine`` is the architecture, this one's when not given."""
    machine = machine or platform.machine()
    model = read_text(root / "proc/device-tree/model") or read_text(root / "sys/firmware/devicetree/base/model") or ""
    name = model or read_text(root / "sys/class/dmi/id/product_name") or machine
    return Board(name=name[:64], family=family_of(model, machine))
