"""A duty's heavy work, done by a ``mongars`` command in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from libs.shared.layout import StateFolder

_NICE = "10"
_STOP_S = 10.0
_MOST_SAID = 64 * 1024


async def command(folder: StateFolder, *arguments: str) -> tuple[int, str, str]:
    """``mongars ARGUMENTS --state FOLDER``: exit code, standard output and error (each up to 64 KiB).

    When the caller is cancelled (its time is up, or all stops), the command is asked to stop, then killed.
    """
    words = ("/usr/bin/env", "nice", "-n", _NICE, sys.executable, "-m", "cli", *arguments, "--state", str(folder.root))
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        said, complained = await child.communicate()
    except BaseException:
        await _ended(child)
        raise
    code = child.returncode if child.returncode is not None else 1
    return code, said[:_MOST_SAID].decode(errors="replace"), complained[-_MOST_SAID:].decode(errors="replace")


async def _ended(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
