"""A name for an adapter where the wanted one is taken. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

_NUMBERED = re.compile(r"^(.+)-(\d{1,6})$")
_LONGEST = 64


def numbered(name: str, count: int) -> tuple[str, ...]:
    """The next ``count`` names: ``ada-2``, ``ada-3`` … after ``ada``, ``ada-8`` … after ``ada-7``."""
    found = _NUMBERED.match(name)
    stem, last = (found[1], int(found[2])) if found else (name, 1)
    return tuple(f"{stem[: _LONGEST - 8]}-{last + one}" for one in range(1, count + 1))


def free_name(name: str, taken: Collection[str], count: int = 100) -> str | None:
    """The first of those that is free; None: none of ``count`` is."""
    return next((one for one in numbered(name, count) if one not in taken), None)
