"""A run's folder belongs to one process at a time, for as long as that process lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.shared.errors import RunUnderWay

FILE = "lock"
PID_BYTES = 20


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else is in here with the same folder, which is made if need be. Raises RunUnderWay.

    The kernel lets go of the lock when a process ends in whatever way, so that a run that was killed can be resumed at
    once. The file stays: to take it away would let two processes lock two files of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _refusal(folder, held) from error
        os.truncate(held, 0)
        os.pwrite(held, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(held)


def _refusal(folder: Path, held: int) -> RunUnderWay:
    said = os.pread(held, PID_BYTES, 0).decode("ascii", "replace")
    who = f"process {said}" if said.isdigit() else "another process"
    about = {"pid": int(said)} if said.isdigit() else {}
    return RunUnderWay(f"{who} trains in {folder.name}; wait for its end, or stop it", **about)
