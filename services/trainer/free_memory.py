"""How much memory a run may still take on this machine: what is free, within what the control groups grant."""

from __future__ import annotations

from pathlib import Path

import psutil

from libs.shared.hardware.boards import ROOT
from libs.shared.hardware.cgroups import memory_limits, read_groups

MIB = 1024 * 1024


def free_bytes(root: Path = ROOT) -> int:
    """Of the machine's memory; ``root`` is where a recorded machine's files lie."""
    granted = [int((limit.limit_mib - limit.used_mib) * MIB) for limit in memory_limits(read_groups(root))]
    return max(0, min([int(psutil.virtual_memory().available), *granted]))
