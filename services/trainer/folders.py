"""The folders of runs that have ended: the newest stay. What came of a run lies in the store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.training import LIST_RUNS, ListRuns, TrainingRun

KEPT_FOLDERS = 50
"""Of runs that have ended."""
_PAGE = 500


async def prune(bus: Bus, root: Path, most: int = KEPT_FOLDERS) -> int:
    """Removes the folders of ended runs, but for the newest ``most``; how many. Raises ServiceError, OSError."""
    there = await asyncio.to_thread(_there, root)
    if len(there) <= most:
        return 0
    removed = 0
    for run_id in removable([run async for run in _runs(bus)], there, most):
        removed += await asyncio.to_thread(remove, root / run_id)
    return removed


def removable(runs: Sequence[TrainingRun], there: set[str], most: int) -> list[str]:
    """Of ``runs``, the newest first, whose folders are ``there``; a folder of which nothing is known stays. Pure."""
    return [run.run_id for run in runs if run.state.ended and run.run_id in there][most:]


def _there(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()


def remove(folder: Path) -> bool:
    """Whether there was one."""
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


async def _runs(bus: Bus) -> AsyncIterator[TrainingRun]:
    cursor: str | None = None
    while True:
        page = await bus.request(LIST_RUNS, ListRuns(limit=_PAGE, cursor=cursor))
        for run in page.runs:
            yield run
        if (cursor := page.next_cursor) is None:
            return
