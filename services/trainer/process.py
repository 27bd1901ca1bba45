"""A run's process as the service holds it: begun, stopped in the middle of a step, let go on, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from services.trainer.telling import Done, Refused, Stands, understood

ERRORS_FILE = "errors.log"
_LONGEST_WORD = 1 << 20


def command(folder: Path) -> tuple[str, ...]:
    """Takes up the run in ``folder``, and ends with this process."""
    return (sys.executable, "-m", "services.trainer.child", str(folder), str(os.getpid()))


class RunProcess:
    """One child, in a process group of its own. Stopping and going on take effect at once, whatever it computes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.paused = False

    @classmethod
    async def begin(cls, folder: Path, threads: int) -> RunProcess:
        """Takes up the run whose ``spec`` lies in ``folder``; what it complains of lies there, too."""
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # a thread that has nothing to do leaves the processor to others
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TOKENIZERS_PARALLELISM": "false",
        }
        errors = os.open(folder / ERRORS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
                limit=_LONGEST_WORD,
            )
        finally:
            os.close(errors)
        return cls(process)

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

    async def words(self) -> AsyncIterator[Stands | Done | Refused]:
        """Until it has ended."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if (word := understood(line)) is not None:
                yield word

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
