"""How long it takes until a stopped process uses no processor any more: asked of the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from libs.shared.telemetry import get_logger, metrics

LIMIT_S = 2.0
_LOOK_S = 0.001
NOTHING_NS = 100_000
"""Of the processor between two looks: what is less is the stopping itself, for which it may have to wait its turn."""
_STILL = frozenset("TtZX")

log = get_logger(__name__)


def is_still(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether each of its threads is stopped, or it has ended."""
    try:
        tasks = list((proc / str(pid) / "task").iterdir())
        return all(_state(task / "stat") in _STILL for task in tasks)
    except FileNotFoundError:
        return True


def _state(path: Path) -> str:
    try:
        return path.read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def used_ns(pid: int, proc: Path = Path("/proc")) -> int:
    """What all its threads have used of the processors; 0 for one that isn't there."""
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in (proc / str(pid) / "task").iterdir())
    except (OSError, IndexError):
        return 0


async def measure(pids: Iterable[int], arrived_at: datetime | None) -> float | None:
    """Seconds from the request's arrival until all of ``pids`` use no processor any more, recorded; None: nothing ran.

    A clock of another machine that differs from this one's can't make it shorter than what is seen here.
    """
    heard, waiting = monotonic(), {pid: used_ns(pid) for pid in pids}
    if not waiting:
        return None
    last, before_s = heard, 0.0 if arrived_at is None else max(0.0, (datetime.now(UTC) - arrived_at).total_seconds())
    while waiting and monotonic() - heard < LIMIT_S:
        await asyncio.sleep(_LOOK_S)
        used = {pid: used_ns(pid) for pid in waiting}
        if any(used[pid] - waiting[pid] > NOTHING_NS for pid in waiting):
            last = monotonic()
        waiting = {pid: spent for pid, spent in used.items() if not is_still(pid)}
    if waiting:
        log.warning("idle_work_not_stopped", processes=len(waiting))
        last = monotonic()
    took_s = before_s + last - heard
    metrics.SLEEP_PREEMPTION.record(took_s)
    return took_s
