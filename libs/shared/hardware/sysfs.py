"""Reads the small files by which Linux describes the machine; what can't be read is None."""

from __future__ import annotations

import os
from pathlib import Path

_LONGEST = 16384
_LAST_CPU = 8191
"""The kernel's own limit; a file that says more is broken."""


def read_text(path: Path) -> str | None:
    """The file's text without the NUL of a device tree and without surrounding white space."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return os.read(descriptor, _LONGEST).decode("utf-8", "replace").strip("\0 \t\n")
    except OSError:  # sensors answer EAGAIN, EIO or ENODATA while they sleep
        return None
    finally:
        os.close(descriptor)


def read_int(path: Path, base: int = 10) -> int | None:
    """The file's number."""
    text = read_text(path)
    try:
        return int(text, base) if text else None
    except ValueError:
        return None


def read_pairs(path: Path) -> dict[str, int]:
    """Lines of ``name number [unit]``, as in ``/proc/meminfo`` (whose colons are dropped) and cgroup statistics."""
    pairs: dict[str, int] = {}
    for line in (read_text(path) or "").splitlines():
        name, _, rest = line.partition(" ")
        number = rest.split()[:1]
        if number and number[0].isdigit():
            pairs[name.rstrip(":")] = int(number[0])
    return pairs


def read_cpu_list(path: Path) -> frozenset[int] | None:
    """Numbers of a list such as ``0-3,6``; None when there is none."""
    text = read_text(path)
    if not text:
        return None
    found: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), min(int(last or first), _LAST_CPU) + 1))
    except ValueError:
        return None
    return frozenset(found)
