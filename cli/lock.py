"""One making, start or stop at a time in a state folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cli.errors import CommandError
from libs.shared.layout import StateFolder

LOCK_NAME = ".lock"
_TIMEOUT_S = 240.0
_CHECK_EVERY_S = 0.05


@contextmanager
def exclusively(folder: StateFolder) -> Iterator[None]:
    """The kernel lets go of the lock when its holder ends, however it ends. Raises CommandError after four minutes."""
    with (folder.root / LOCK_NAME).open("w") as lock:
        deadline = time.monotonic() + _TIMEOUT_S
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                raise CommandError("another mongars command is starting or stopping this installation", "try again")
            time.sleep(_CHECK_EVERY_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
