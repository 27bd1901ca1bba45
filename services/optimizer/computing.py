"""A job's process as the optimizer holds it: stopped when it has to make way, ended when it is late."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from time import monotonic

from libs.shared.background.process import HeldProcess, environment
from services.optimizer.child import RESULT
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job, JobFailed

MOST_BYTES = 64 << 20
_LOOK_S = 0.25


def command(job: Job) -> tuple[str, ...]:
    return (sys.executable, "-m", "services.optimizer.child", job.name, str(os.getpid()))


class JobProcess(HeldProcess):
    """One child that does one job."""

    @classmethod
    async def begin(cls, job: Job, threads: int) -> JobProcess:
        process = await asyncio.create_subprocess_exec(
            *command(job),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback may quote what somebody said
            env=environment(threads),
            start_new_session=True,
        )
        return cls(process)

    async def answer(self, payload: bytes) -> bytes:
        """Raises JobFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(payload)
            await self._process.stdin.drain()
            self._process.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended; what it said, if anything, is read below
        said = bytearray()
        while piece := await self._process.stdout.read(1 << 16):
            said += piece
            if len(said) > MOST_BYTES:
                raise JobFailed("its result is too large")
        code = await self.ended()
        if code != 0 or not said:
            raise JobFailed(f"its process ended with {code}")
        if said[:1] != RESULT:
            raise JobFailed(bytes(said[1:200]).decode(errors="replace"))
        return bytes(said[1:])


async def compute(job: Job, gate: Gate, threads: int, clock: Callable[[], float] = monotonic) -> bytes:
    """Raises JobFailed, TimeoutError. Nothing is left of it, however this ends."""
    await gate.clear()
    process = await JobProcess.begin(job, threads)
    gate.join(process)
    answering = asyncio.ensure_future(process.answer(job.payload))
    try:
        begun, held_before = clock(), gate.held_s
        while not answering.done():
            await asyncio.wait((answering,), timeout=_LOOK_S)
            if clock() - begun - (gate.held_s - held_before) > job.timeout_s:
                raise TimeoutError(f"{job.name} ran for longer than {job.timeout_s:.0f} s")
        return answering.result()
    finally:
        gate.leave(process)
        answering.cancel()
        await process.end(0)
        await asyncio.gather(answering, return_exceptions=True)
