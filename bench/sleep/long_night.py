"""How long a night over many memories takes, on made-up ones, and what its child process needs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.dialogues import NOW
from bench.locomo.data import Turn
from bench.locomo.vectors import Vectors
from bench.report import Aim
from bench.sleep.made_up import made_up
from bench.sleep.offline import said
from bench.sleep.services import house
from services.optimizer.digesting.making import payload_of
from services.optimizer.phases.light import BATCH

SEED = 5
_CHILD = (
    "import re, sys; from services.optimizer.jobs import found; found('digest')(sys.stdin.buffer.read()); "
    "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
)
MOST_S, MOST_MIB = 1800.0, 200.0


async def long_night(vectors: Vectors, memories: int) -> tuple[list[Aim], dict[str, Any]]:
    """One user's first night over so many memories; prints what it took."""
    made = made_up("long", memories - 120, 30, seed=SEED)
    with tempfile.TemporaryDirectory(prefix="mongars-sleep-") as folder:
        async with house(vectors, Path(folder), now=NOW) as home:
            await home.remember([made.conversation])
            began = perf_counter()
            slept = await home.sleep()
            took_s = perf_counter() - began
    child_mib = await asyncio.to_thread(_child_mib, made.conversation.turns[:BATCH])
    print(f"{slept.report.done}: {took_s:.0f} s, {slept.cpu_s:.0f} s of this process' processor time")
    print(f"{slept.digest_bytes / 1024:.0f} KiB of digests; a batch's child process: {child_mib:.0f} MiB at most")
    figures = {"wall_s": took_s, "cpu_s": slept.cpu_s, "digest_bytes": slept.digest_bytes, "child_mib": child_mib}
    return [
        Aim(f"a night over {memories} memories", took_s, MOST_S, "s"),
        Aim("its child process", child_mib, MOST_MIB, "MiB"),
    ], figures


def _child_mib(turns: Sequence[Turn]) -> float:
    """The most memory that a child process held over one batch."""
    payload = payload_of([said(replace(turn, id=str(place))) for place, turn in enumerate(turns)])
    child = subprocess.run([sys.executable, "-c", _CHILD], input=payload, capture_output=True, check=True)
    return int(child.stdout) / 1024
