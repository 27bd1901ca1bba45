"""A job in a process of its own: ``python -m services.optimizer.child NAME PARENT``; payload in, result out.

It ends with its parent and lets everything else on the machine pass. What it writes to standard output is one byte,
``+`` before a result and ``-`` before the name of the error and where it was raised; never what it was about.
"""

from __future__ import annotations

import os
import sys
import traceback

from libs.shared.background.aside import step_aside
from libs.shared.parent import end_with
from services.optimizer.jobs import found

RESULT = b"+"
ERROR = b"-"


def worked(name: str, payload: bytes) -> bytes:
    """The answer."""
    try:
        return RESULT + found(name)(payload)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
        return ERROR + f"{type(error).__name__}{where}".encode()


def main(name: str, parent: int) -> None:
    end_with(parent)
    step_aside()
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    out.write(worked(name, sys.stdin.buffer.read()))
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
