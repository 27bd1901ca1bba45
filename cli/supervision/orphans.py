"""Processes that outlived their supervisor: recognised by the installation's mark in their environment, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "MONGARS_SUPERVISED"
"""Every supervised process carries the installation's id under this name; children inherit it."""
_CHECK_EVERY_S = 0.05


def marked(installation_id: str) -> Iterator[int]:
    """The processes of this user that carry the mark of ``installation_id``."""
    wanted = f"{MARK}={installation_id}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it ended meanwhile, or belongs to another user
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def end(installation_id: str, *, patience_s: float) -> int:
    """Asks them to stop, and kills those that have not after ``patience_s``; how many there were."""
    found = set(marked(installation_id))
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(installation_id):
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        if _gone(installation_id, patience_s):
            break
    return len(found)


def _gone(installation_id: str, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while any(True for _ in marked(installation_id)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_CHECK_EVERY_S)
    return True
