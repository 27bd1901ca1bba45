"""A run's process as the service holds it, and what it says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from libs.shared.background.process import HeldProcess, environment
from services.trainer.telling import Done, Refused, Stands, understood

ERRORS_FILE = "errors.log"
_LONGEST_WORD = 1 << 20


def command(folder: Path) -> tuple[str, ...]:
    """Takes up the run in ``folder``, and ends with this process."""
    return (sys.executable, "-m", "services.trainer.child", str(folder), str(os.getpid()))


class RunProcess(HeldProcess):
    """The child of one run."""

    @classmethod
    async def begin(cls, folder: Path, threads: int) -> RunProcess:
        """Takes up the run whose ``spec`` lies in ``folder``; what it complains of lies there, too."""
        told = environment(threads) | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        errors = os.open(folder / ERRORS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=told,
                start_new_session=True,
                limit=_LONGEST_WORD,
            )
        finally:
            os.close(errors)
        return cls(process)

    async def words(self) -> AsyncIterator[Stands | Done | Refused]:
        """Until it has ended."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if (word := understood(line)) is not None:
                yield word
