"""What the supervisor runs as the database: ends what an earlier PostgreSQL left in PGDATA, then becomes PostgreSQL."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cli.database.owner import current_owner

_LEFTOVERS_TIMEOUT_S = 10.0
_CHECK_EVERY_S = 0.05
_OPTIONS = {
    "unix_socket_directories": "../run",
    "listen_addresses": "",
    "io_method": "sync",  # worker processes would cost memory that a board doesn't have
    "jit": "off",
    "max_connections": "40",
    "shared_buffers": "128MB",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a statement may hold what somebody said
    "log_error_verbosity": "terse",
}


def main(arguments: list[str]) -> None:
    """``python -m cli.database.launcher PGDATA POSTGRES``."""
    data, program = Path(arguments[0]), arguments[1]
    end_leftovers(data)
    os.chdir(data)
    options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
    # a supervisor that dies takes its database along, in good order
    command = current_owner().command("--pdeathsig", "INT", program, "-D", "/proc/self/cwd", *options)
    os.execve(command[0], command, {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"})  # noqa: S606


def end_leftovers(data: Path) -> None:
    """Ends every process that works inside ``data``: a busy backend outlives its postmaster and blocks the next.

    Raises TimeoutError when one can't be ended.
    """
    for sent in (signal.SIGQUIT, signal.SIGKILL):
        pids = list(working_in(data))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        if _gone_within(data, _LEFTOVERS_TIMEOUT_S / 2):
            return
    raise TimeoutError(f"processes {list(working_in(data))} hold {data} and can't be ended")


def _gone_within(data: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while list(working_in(data)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_CHECK_EVERY_S)
    return True


def working_in(data: Path) -> Iterator[int]:
    """The PostgreSQL processes whose working folder is ``data``."""
    wanted = data.stat()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # the process ended meanwhile, or is another user's
            at = (entry / "cwd").stat()
            same = (at.st_dev, at.st_ino) == (wanted.st_dev, wanted.st_ino)
            if same and (entry / "exe").readlink().name.startswith("postgres"):
                yield int(entry.name)


if __name__ == "__main__":
    main(sys.argv[1:])
