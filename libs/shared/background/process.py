"""A process that works for nobody who waits, as its service holds it: stopped in the middle, let go on, ended."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress


def environment(threads: int) -> dict[str, str]:
    """For such a process: no more threads than it may have, and none that waits busily."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # a thread that has nothing to do leaves the processor to others
        "TOKENIZERS_PARALLELISM": "false",
    }


class HeldProcess:
    """One child, in a process group of its own. Stopping and going on take effect at once, whatever it computes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.paused = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def pause(self) -> None:
        """It uses no processor from now on."""
        self.paused = True
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """From where it was."""
        self.paused = False
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """After its step; it keeps what it has learnt."""
        self._signal(signal.SIGTERM)
        self.go_on()

    async def ended(self) -> int:
        """Its exit code, negative after a signal."""
        return await self._process.wait()

    async def end(self, patience_s: float) -> None:
        """Returns once nothing is left of it; after ``patience_s`` it is killed."""
        if self._process.returncode is None and patience_s > 0:
            self.ask_to_stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, unless it has ended: then its number may be another's."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
