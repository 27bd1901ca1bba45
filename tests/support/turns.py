"""Whose turn it is where several workers run tests: one that is marked ``alone`` has the machine's time to itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Waits until nobody runs who is alone, and, for whoever wants to be alone, until nobody else runs.

    Everybody who shares ``folder`` takes turns. Who waits to be alone is not overtaken: whoever comes later waits at
    the door, which the waiting one holds shut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder / "room") as room:
        with _opened(folder / "door") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def once(file: Path) -> Iterator[None]:
    """One process at a time: whoever comes second finds what the first one made."""
    with _opened(file) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """Children don't inherit it, so that what outlives a test holds nothing; closing it gives the lock back."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
