"""An installation's own PostgreSQL for as long as a command needs it, with nothing else of the installation running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cli.creation import database_binaries
from cli.database.owner import current_owner
from cli.errors import CommandError
from cli.installation import Installation
from cli.logs import last_lines
from cli.probes import database_answers
from cli.supervision.place import code_root

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_CHECK_EVERY_S = 0.05


@contextmanager
def running(installation: Installation) -> Iterator[None]:
    """It answers inside the block, and has ended in good order after it. Raises CommandError."""
    binaries = database_binaries(current_owner())
    folder = installation.reachable
    log = folder.logs / "database.log"
    words = [sys.executable, "-m", "cli.database.launcher", str(folder.database), str(binaries.program("postgres"))]
    with log.open("ab") as said:
        server = subprocess.Popen(  # noqa: S603 - our own program
            words, cwd=code_root(), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not database_answers(binaries, folder.database_socket):
            if server.poll() is not None or time.monotonic() > deadline:
                told = "\n".join(f"    {line}" for line in last_lines(log, 6))
                raise CommandError(f"PostgreSQL could not be started; its last words:\n{told}", "see the lines above")
            time.sleep(_CHECK_EVERY_S)
        yield
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for every client
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(_STOP_TIMEOUT_S)
