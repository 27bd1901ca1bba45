"""Starting again at once what ended: supervisord looks at its processes once a second, or when somebody calls."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from supervisor import events

_MOST_READ_BYTES = 4096


class Waker:
    """A pipe to itself that supervisord waits on; whatever ended by itself makes it look once more.

    It reaps a process after it looked at which to start, and so starts it when it looks the next time.
    """

    def __init__(self, supervisord: Any) -> None:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        supervisord.options.get_socket_map()[self._out] = self
        events.subscribe(events.ProcessStateExitedEvent, self._wake)

    def _wake(self, _ended: Any) -> None:
        with suppress(BlockingIOError):  # it is full, and will be read
            os.write(self._in, b"\n")

    def readable(self) -> bool:
        """supervisord's question whether to wait for it."""
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        """supervisord was woken: what was written has done its work."""
        os.read(self._out, _MOST_READ_BYTES)

    def handle_error(self) -> None:
        """Nothing waits for it: without it, supervisord looks once a second."""

    def close(self) -> None:
        """Lets go of the pipe."""
        os.close(self._out)
        os.close(self._in)
