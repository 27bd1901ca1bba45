"""A process that does not outlive the one that began it."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, *, exit_code: int = 1) -> None:
    """The kernel kills this process, also while it is stopped, when ``parent`` ends in whatever way. Where that is gone
    already, it ends here with ``exit_code``.

    ``parent`` is the process id of whoever began it, told by it: asking for it here may be too late. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(exit_code)
