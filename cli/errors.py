"""What ends a command: one line that says what is wrong, one that says what to do."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes that scripts can rely on."""

    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_READY = 4
    REFUSED = 5
    """The installation answered, and said no."""
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command. ``remedy`` says what the reader can do about it."""

    def __init__(self, problem: str, remedy: str = "", *, code: Exit = Exit.FAILED) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.code = code
