"""What a phase is given to work with, and what it hands back.

A phase is a module beside this one with ``async def propose(work: PhaseWork) -> PhaseReport``. It may be cancelled at
any await and killed at any line, and does what was left over in a later cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Id
from libs.shared.contracts.sleep import PhaseProgress, Tried


@dataclass(frozen=True)
class Job:
    """Work for the processor, done by the function that ``services.optimizer.jobs`` has under ``name``."""

    name: str
    payload: bytes = b""
    timeout_s: float = 600.0
    """Of running: time in which it is held doesn't count."""


@dataclass(frozen=True)
class PhaseReport:
    """What came of a phase."""

    done: str
    """In a sentence, for whoever reads the cycle."""
    changes: tuple[Id, ...] = ()
    """In the ledger, proposed by it."""
    tried: tuple[Tried, ...] = ()
    """Shared with the other nodes."""
    figures: dict[str, float] = field(default_factory=dict)
    """Measured, by a name that says the unit; at most 32 are kept."""
    left: bool = False
    """Whether there was more to do than it had time for."""


class PhaseWork(Protocol):
    """What a phase works with."""

    @property
    def bus(self) -> Bus: ...

    @property
    def folder(self) -> Path:
        """The phase's own, of this user alone; it stays from one cycle to the next."""
        ...

    @property
    def cycle_id(self) -> Id: ...

    @property
    def others(self) -> tuple[Tried, ...]:
        """What other nodes told that they tried, the newest first: to begin from, and to be evaluated again."""
        ...

    @property
    def seconds_left(self) -> float:
        """Until the phase is ended, in which it may run."""
        ...

    async def clear(self) -> None:
        """Returns once nobody waits for an answer: to be awaited before each request to another service."""
        ...

    async def compute(self, job: Job) -> bytes:
        """What the job's function returns, in a child process that stands still while somebody waits for an answer.

        Raises JobFailed when it raised or died, and TimeoutError when it ran for longer than it may.
        """
        ...

    def tell(self, progress: PhaseProgress) -> None:
        """Where it stands now."""
        ...


class JobFailed(Exception):
    """A job raised, or its process died; the text says which, by the error's name alone."""
