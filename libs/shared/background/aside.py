"""What a process does first that works for nobody who waits."""

from __future__ import annotations

import os

import psutil

_LEAST_PRIORITY = 19


def step_aside() -> None:
    """Everything else comes first, at the processors and at the disks."""
    os.nice(_LEAST_PRIORITY)
    psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
