"""Work that runs concurrently within a bound, behind a bounded queue, and can be waited for at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from libs.shared.telemetry import get_logger

log = get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """Every task that a bus has started and not yet seen end."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", exc_info=error)

    async def finish(self, timeout_s: float) -> bool:
        """Waits until all have ended, those included that they start. False when time ran out."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._running:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.wait(tuple(self._running), timeout=left)
        return True

    async def cancel(self, timeout_s: float) -> None:
        """Cancels what is left, and what that starts in turn, and waits a little for it to clean up."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        cancelled: set[asyncio.Task[None]] = set()
        while self._running and asyncio.get_running_loop().time() < deadline:
            for task in self._running - cancelled:
                task.cancel()
            cancelled |= self._running
            await asyncio.wait(tuple(self._running), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


class Lane:
    """One subscription's work: at most ``width`` at a time, at most ``backlog`` waiting."""

    def __init__(self, tasks: Tasks, width: int, backlog: int) -> None:
        self._tasks = tasks
        self._width = width
        self._backlog = backlog
        self._active = 0
        self._waiting: deque[Work] = deque()

    def offer(self, work: Work) -> bool:
        """Starts or queues ``work``. False when the queue is full."""
        if self._active < self._width:
            self._active += 1
            self._tasks.start(self._run(work))
            return True
        if len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(work)
        return True

    async def _run(self, work: Work) -> None:
        try:
            await work()
        finally:
            self._active -= 1
            if self._waiting:
                self.offer(self._waiting.popleft())
