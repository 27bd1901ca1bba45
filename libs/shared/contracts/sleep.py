"""What the installation does for itself while nobody needs it: asked for, told of, and shared between nodes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from libs.shared.contracts.base import Broadcast, Bucket, Message, Principal, Rpc
from libs.shared.contracts.common import Id
from libs.shared.contracts.ledger import Measured


class Phase(StrEnum):
    """What a cycle consists of, in this order."""

    LIGHT = "light"
    """Memories are consolidated."""
    DEEP = "deep"
    """Settings are tuned."""
    PARADOXICAL = "paradoxical"
    """What is likely to be asked next is prepared, and training proposed."""


class Tried(Message):
    """A value of a setting that was evaluated, and what came of it. It says nothing of what was asked."""

    key: str = Field(max_length=64)
    """A field of RuntimeSettings."""
    value: Any
    measured: tuple[Measured, ...] = Field(default=(), max_length=16)
    proposed: bool = False
    """Whether it became a change in the ledger, which then decides."""
    change_id: Id | None = None


class PhaseProgress(Message):
    """Where a phase stands."""

    doing: str = Field(default="", max_length=120)
    """In a few words, for whoever watches; nothing that a user said."""
    step: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    """0: nobody knows how many."""


class PhaseState(StrEnum):
    """How a phase stands, or ended."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    """The cycle ended before it did, because somebody needed the machine or the service stopped."""


class CycleState(StrEnum):
    """How a cycle stands, or ended."""

    RUNNING = "running"
    DONE = "done"
    WOKEN = "woken"
    """It was no longer quiet; what is left over comes with the next."""
    INTERRUPTED = "interrupted"
    """The service ended in the middle of it."""


class Energy(Message):
    """What was drawn beyond what the machine draws idle. ``estimated``: processor seconds times the watts that the
    board's profile gives a core."""

    joules: float = Field(ge=0)
    source: Literal["measured", "estimated"]


class PhaseOutcome(Message):
    """One phase of a cycle."""

    phase: Phase
    state: PhaseState = PhaseState.WAITING
    progress: PhaseProgress | None = None
    done: str = Field(default="", max_length=500)
    """What it did, in its own words; or why it ended."""
    changes: tuple[Id, ...] = Field(default=(), max_length=64)
    figures: dict[str, float] = Field(default_factory=dict)
    left: bool = False
    """There was more to do."""
    took_s: float = Field(default=0.0, ge=0)
    held_s: float = Field(default=0.0, ge=0)
    """Of that, how long it stood still to make way."""
    cpu_s: float = Field(default=0.0, ge=0)
    """Of its child processes."""
    energy: Energy | None = None


class Cycle(Message):
    """One sleep."""

    cycle_id: Id
    state: CycleState
    asked_for: bool = False
    """By somebody, rather than begun because it was quiet."""
    begun_at: datetime
    ended_at: datetime | None = None
    phases: tuple[PhaseOutcome, ...]
    reason: str = ""
    """Why it ended before its phases did."""
    energy: Energy | None = None


class AnswerEnergy(Message):
    """Joules beyond idleness that answers cost, over the whole installation; ``saved_j``: by how much less an answer
    costs since the last cycle that changed something than before it, times the answers since."""

    per_answer_j: float | None = None
    answers: int = 0
    source: Literal["measured", "estimated"] = "estimated"
    saved_j: float | None = None
    """None: too few answers to tell."""


class Scaled(Message):
    """How many workers of a name there are."""

    name: str = Field(max_length=64)
    running: int
    wanted: int
    least: int
    most: int
    autoscaled: bool = False
    """Something else decides."""
    reason: str = Field(default="", max_length=300)
    """Why there are as many, or why not another number."""


class SleepStatus(Message):
    """What it does now, and why not more."""

    enabled: bool
    phases: tuple[Phase, ...]
    """Those that this installation has; none: there is nothing to do."""
    idle: bool
    reasons: tuple[str, ...] = ()
    """Why it isn't idle, or doesn't begin."""
    held_by: tuple[str, ...] = ()
    """What a running cycle makes way for now."""
    expected_quiet_s: float | None = None
    """How long it is likely to stay quiet; None: nothing is known of this installation's weeks yet."""
    next_look_s: float = 0.0
    running: Cycle | None = None
    cycles: tuple[Cycle, ...] = ()
    """That have ended, the newest first."""
    answers: AnswerEnergy = AnswerEnergy()
    others: int = 0
    """Other nodes whose results are known."""
    scaling: tuple[Scaled, ...] = ()
    """Workers whose number it sees to; none where scaling is off."""


class SleepNow(Message):
    """Begins a cycle without waiting for a quiet time: it still makes way for each request, for heat and for power.

    ``phases`` empty: all that there are. Raises ``nothing_to_do`` (none of them is there), ``sleep_under_way``.
    """

    phases: tuple[Phase, ...] = Field(default=(), max_length=8)


class ReadSleep(Message):
    """Asks how it stands, with the last cycles."""

    cycles: int = Field(default=10, ge=0, le=50)


class Kept(Message):
    """A setting that was evaluated, tried out, watched and kept."""

    key: str = Field(max_length=64)
    value: Any
    change_id: Id
    measured: tuple[Measured, ...] = Field(default=(), max_length=16)


MOST_TRIED = 64


class Optimisation(Message):
    """What one optimizer tells the others: what it tried in its last cycle, what that gained, and what is kept."""

    node: Id
    boot: str = Field(max_length=64)
    sequence: int = Field(ge=0)
    at: datetime
    cycle_id: Id | None = None
    tried: tuple[Tried, ...] = Field(default=(), max_length=MOST_TRIED)
    kept: tuple[Kept, ...] = Field(default=(), max_length=MOST_TRIED)
    energy: Energy | None = None


_READERS = frozenset({Principal.API, Principal.CLI})

SLEEP_NOW = Rpc("mongars.v1.optimizer.sleep_now", SleepNow, Cycle, owner=Principal.OPTIMIZER, callers=_READERS)
"""Returns once the cycle has begun."""
SLEEP_STATUS = Rpc(
    "mongars.v1.optimizer.sleep_status", ReadSleep, SleepStatus, owner=Principal.OPTIMIZER, callers=_READERS
)
SLEEP_CHANGED = Broadcast(
    "mongars.v1.optimizer.sleep_changed",
    Cycle,
    owner=Principal.OPTIMIZER,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPERATOR, Principal.OPS}),
)
"""A cycle began, went on or ended; lossy."""
OPTIMISATION = Broadcast(
    "mongars.v1.telemetry.optimizer",
    Optimisation,
    owner=Principal.OPTIMIZER,
    callers=frozenset({Principal.OPTIMIZER, Principal.OPERATOR, Principal.OPS}),
)
SLEEP = Bucket(
    name="sleep",
    writers=frozenset({Principal.OPTIMIZER}),
    readers=frozenset({Principal.OPTIMIZER}),
    ttl_s=60.0,
    in_memory=True,
)
"""Key ``cycle``: the node that sleeps, renewed while it does. One at a time in an installation."""
