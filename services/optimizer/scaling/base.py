"""What counts workers and sets how many there are, whatever the installation runs on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_BOUNDS = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)=([0-9]{1,2})-([0-9]{1,2})")


class ScalingError(Exception):
    """What was asked of the system that runs the workers was not done; says why, for a log."""


class NotOurs(ScalingError):
    """No such name among the installation's own, or this installation may not touch it."""


class Autoscaled(ScalingError):
    """Something else sets how many there are, and goes on to."""


@dataclass(frozen=True)
class Bounds:
    """How many there may be: ``least`` is also how many there are where nobody has said otherwise."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most <= 64:
            raise ValueError("bounds are 1 <= least <= most <= 64")


@dataclass(frozen=True)
class Count:
    """Of one name, now."""

    running: int
    """That take work."""
    wanted: int
    """That whoever runs them was asked for; those that leave aren't among them."""
    least: int
    most: int
    autoscaled: bool = False
    """Whether something else sets ``wanted``."""


class Scaler(Protocol):
    """One way to run workers. It touches the names that it was given, and nothing else. Raises ScalingError."""

    async def counts(self) -> Mapping[str, Count]:
        """By name; one that isn't there is left out."""
        ...

    async def scale(self, name: str, count: int) -> None:
        """Returns once it was asked for. What goes ends what it has begun first."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


def read_bounds(words: Sequence[str]) -> dict[str, Bounds]:
    """Of ``cognition=1-4``. Raises ValueError."""
    found: dict[str, Bounds] = {}
    for word in words:
        match = _BOUNDS.fullmatch(word)
        if match is None or match[1] in found:
            raise ValueError(f"{word!r} is not NAME=LEAST-MOST, each name once")
        found[match[1]] = Bounds(int(match[2]), int(match[3]))
    return found


def owned(bounds: Mapping[str, Bounds], name: str) -> Bounds:
    """Raises NotOurs."""
    if name not in bounds:
        raise NotOurs(f"{name} is not among what this installation may scale")
    return bounds[name]
