"""What a Raspberry Pi's firmware tells through ``vcgencmd``: which limits hold, and what its power chip measures.

Newer kernels show the limits in sysfs too, the power chip (Pi 5) shows only here. Each question starts a program, so it
is asked every few seconds, and seldom where it wasn't answered (``/dev/vcio`` needs the group ``video``).
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

_PROGRAMS = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_EVERY_S = 5.0
_AGAIN_S = 60.0
_TIMEOUT_S = 1.0
_RAIL = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=(\d+\.\d+)[AV]$", re.MULTILINE)
_SLOPE, _OFFSET_W = 1.1451, 0.5879
"""From the sum of the measured rails to the board's input: a fit against a USB meter by J. Fikar
(github.com/jfikar/RPi5-power). What hangs on USB or a HAT is in neither."""

T = TypeVar("T")


@dataclass
class _Question(Generic[T]):
    """What was answered last, and until when that is good; a board that doesn't know the question is asked seldom."""

    words: str
    read: Callable[[str], T | None]
    answer: T | None = None
    until_s: float = -math.inf

    def ask(self, program: Path | None, now_s: float) -> T | None:
        if program is not None and now_s >= self.until_s:
            text = _ask(program, self.words)
            self.answer = self.read(text) if text is not None else None
            self.until_s = now_s + (_EVERY_S if self.answer is not None else _AGAIN_S)
        return self.answer


class Firmware:
    """Answers None on a machine that has no such program, or none that works."""

    def __init__(self, root: Path) -> None:
        self._program = next((path for name in _PROGRAMS if (path := root / name).is_file()), None)
        self._limits = _Question("get_throttled", _limits)
        self._adc = _Question("pmic_read_adc", _watts)

    def limits(self, now_s: float) -> int | None:
        """The bits of ``get_throttled``; ``now_s`` of a clock that only goes forward."""
        return self._limits.ask(self._program, now_s)

    def watts(self, now_s: float) -> float | None:
        """What the board draws by its power chip."""
        return self._adc.ask(self._program, now_s)


def _ask(program: Path, question: str) -> str | None:
    try:
        ran = subprocess.run(  # noqa: S603 - a program of the system, by its whole path
            [program, question], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout if ran.returncode == 0 else None


def _limits(text: str) -> int | None:
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", text.strip())
    return int(found[1], 16) if found else None


def _watts(text: str) -> float | None:
    """Over the rails of which both current and voltage are told; the input tells a voltage alone."""
    told = {(name, unit): float(value) for name, unit, value in _RAIL.findall(text)}
    rails = [told[name, "V"] * amperes for (name, unit), amperes in told.items() if unit == "A" and (name, "V") in told]
    return sum(rails) * _SLOPE + _OFFSET_W if rails else None
