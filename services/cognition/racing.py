"""Two replicas at one request: the first to give a token goes on, and the other is stopped at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import NamedTuple, Protocol

from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.scheduling import Placement
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.outcomes import is_of_the_replica

log = get_logger(__name__)

STOP_S = 1.0
"""How long one that is stopped may take to tell its end before nobody waits for it."""


class Runner(Protocol):
    """An attempt, as far as a race goes."""

    outrun: bool
    """Set on the slower one before it is stopped."""

    @property
    def placement(self) -> Placement | None:
        """Where it is under way; None while it isn't."""
        ...

    def chunks(self) -> AsyncGenerator[GenerateChunk, None]: ...


class _Step(NamedTuple):
    """A runner's next chunk; without one it has ended, by ``failure`` if there is one."""

    runner: Runner
    chunk: GenerateChunk | None = None
    failure: Exception | None = None


class _Steps:
    """What the runners' tasks hand over: one chunk at a time, so that a slow reader slows the replica down."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[_Step] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)

    async def read(self, runner: Runner) -> None:
        """Reads one to its end, or until it is cancelled."""
        try:
            async with aclosing(runner.chunks()) as chunks:
                async for chunk in chunks:
                    await self._room.acquire()
                    self._queue.put_nowait(_Step(runner, chunk))
        except Exception as failure:
            self._queue.put_nowait(_Step(runner, failure=failure))
        else:
            self._queue.put_nowait(_Step(runner))

    async def next(self) -> _Step:
        """The next one, whoever's."""
        step = await self._queue.get()
        if step.chunk is not None:
            self._room.release()
        return step


async def first_to_speak(first: Runner, second: Runner) -> AsyncGenerator[GenerateChunk, None]:
    """The chunks of whichever gives one first; the other is ``outrun``.

    ``second`` may end without a chunk, or fail, and ``first`` is waited for. Where ``first`` fails, ``second`` is
    waited for if it is under way. Raises the winner's failure, or ``first``'s where neither gave a chunk.
    """
    steps = _Steps()
    tasks = {id(runner): asyncio.create_task(steps.read(runner)) for runner in (first, second)}
    winner: Runner | None = None
    lost: list[_Step] = []
    try:
        while True:
            step = await steps.next()
            if step.chunk is not None and winner is None:
                winner, loser = step.runner, second if step.runner is first else first
                _outrun(loser, tasks[id(loser)])
            if step.runner is winner:
                if step.chunk is None:
                    if step.failure is not None:
                        raise step.failure
                    return
                yield step.chunk
            elif winner is None:
                lost.append(step)
                _tell_of_mistake(step)
                _give_up_without_hope(lost, first, second)
    finally:
        await _stopped(tasks.values())


def _outrun(loser: Runner, task: asyncio.Task[None]) -> None:
    """Stops the slower one while the other goes on."""
    loser.outrun = True
    task.cancel()


def _give_up_without_hope(lost: list[_Step], first: Runner, second: Runner) -> None:
    """Raises the first's failure where the second can't do better."""
    failure = next((step.failure for step in lost if step.runner is first), None)
    if failure is None:
        return
    helpless = second.placement is None or len(lost) > 1
    if helpless or not isinstance(failure, ServiceError) or not is_of_the_replica(failure):
        raise failure


def _tell_of_mistake(step: _Step) -> None:
    """One in the code of a second copy stops nobody's answer, and is not to be lost either."""
    if step.failure is not None and not isinstance(step.failure, ServiceError):
        log.error("attempt_failed", exc_info=step.failure)


async def _stopped(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Stops those that are still running, and lets them tell their end, whoever is cancelled meanwhile."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        if not task.cancelling():
            task.cancel()
    if not running:
        return
    try:
        await asyncio.wait(running, timeout=STOP_S)
    except asyncio.CancelledError:
        await asyncio.wait(running, timeout=STOP_S)
        raise
