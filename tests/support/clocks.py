"""Processes whose wall clock a test sets, by libfaketime (Debian: faketime); every other clock of theirs goes on."""

from __future__ import annotations

import time
from pathlib import Path

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""Loaded before all else into programs that use the C library: not into the broker, which does without one."""


SEEN_S = 1
"""After so long at the latest every process sees a clock that was set."""
_SLEEP = """\
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""libfaketime 0.9.10 takes the monotonic moment until which ``time.sleep`` waits for one of the wall clock: EINVAL."""


class WallClock:
    """The wall clock of every process that has ``environment``, and of their children."""

    def __init__(self, folder: Path) -> None:
        """``folder`` has to be readable by whoever runs them."""
        self._file = folder / "faketime"
        (folder / "sitecustomize.py").write_text(_SLEEP)
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "PYTHONPATH": str(self._file.parent),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(SEEN_S),  # else each look at any clock reads the file: ten times slower
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",  # the database's processes are another user's
            "NO_FAKE_STAT": "1",  # setting a clock changes no file's times
        }

    def set(self, ahead_s: int) -> None:
        """They see this many seconds more than it is; all of them do when this returns."""
        aside = self._file.with_suffix(".new")
        aside.write_text(f"{ahead_s:+d}\n")
        aside.chmod(0o644)
        aside.replace(self._file)
        time.sleep(SEEN_S + 1.2)  # the library counts whole seconds, and tells nobody when it has looked
