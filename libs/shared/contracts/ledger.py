"""The ledger through which alone settings, digests and adapters change: persistence keeps it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, ValidationError

from libs.shared.contracts.base import MIB, Broadcast, Bucket, Event, JetStream, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page, Stamp
from libs.shared.contracts.runtime_settings import RuntimeSettings


class ChangeKind(StrEnum):
    """What a change is of, and so what applying it does."""

    SETTING = "setting"
    """``key`` names a field of RuntimeSettings; an adapter goes into service and out of it by one as well."""
    DIGEST = "digest"
    """``key`` is ``digest:`` and a user's id; ``before`` and ``after`` name a generation of that user's digests (None:
    none), and the commitment to it: what it says lies in erasable rows."""


def asks_approval(settings: RuntimeSettings, kind: ChangeKind) -> bool:
    """Whether an administrator has to allow the optimizer's changes of this kind."""
    return settings.approval in ("all", f"{kind.value}s")


OPTIMIZER_ACTOR = "optimizer"
"""In whose name the optimizer proposes and decides."""


class ChangeState(StrEnum):
    """The life of a change. What is in force: ``applied`` (and watched), ``kept``, and ``canary`` for its share.

    An admin's own edit goes from ``proposed`` to ``applied`` at once. Whatever else is proposed is evaluated first: the
    optimizer's then waits for ``approved`` where the policy asks for it, an operator's waits for an admin in any case,
    whose leave applies it also where its evaluation refused it.
    """

    PROPOSED = "proposed"
    EVALUATED = "evaluated"
    """Measured, and found to help; of what people propose also: nothing speaks against it, and the step says why."""
    APPROVED = "approved"
    CANARY = "canary"
    APPLIED = "applied"
    """In force, and watched: a guardrail that worsens beyond noise rolls it back."""
    KEPT = "kept"
    """In force; the watch is over."""
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Measured(Message):
    """A measure before and after: of paired questions, of a canary's conversations beside the others, of time."""

    measure: str = Field(max_length=64)
    """Such as ``coverage_at_300``, ``evidence_at_10``, ``latency_p99_s``, ``error_share``."""
    by: Literal["replay", "canary", "watch"]
    before: float
    after: float
    low: float
    """Of the 95 % interval of after − before (of their ratio, where ``unit`` is ``ratio``)."""
    high: float
    samples: int = Field(ge=0)
    unit: str = Field(default="", max_length=16)
    better: Literal["more", "less"] = "more"


class Step(Message):
    """One step of a change's life, chained to the step before it (of whichever change) and signed.

    ``hash`` is SHA-256 over the canonical JSON of every field but ``hash`` and ``signature``; the change's own hash is
    among them, since that is what happened to it.
    """

    sequence: int
    change_id: Id
    change_hash: str
    state: ChangeState
    at: datetime
    actor: str
    reason: str = ""
    measured: tuple[Measured, ...] = ()
    previous_hash: str
    hash: str
    key: str
    """Base64, the installation's public key for the ledger."""
    signature: str
    """Base64, Ed25519 over ``hash``."""


class Change(Message):
    """A ledger entry. ``hash`` covers every field that never changes, and the hash before it."""

    change_id: Id
    sequence: int
    kind: ChangeKind = ChangeKind.SETTING
    key: str
    before: Any
    after: Any
    reason: str
    state: ChangeState
    proposed: Stamp
    decided: Stamp | None = None
    """By whom it came into its state, and when."""
    previous_hash: str
    hash: str
    in_force: bool = False
    """Whether its key's value is this change's now; of one that is tried out, whether its trial runs."""
    steps: tuple[Step, ...] = ()
    """What happened to it, oldest first; left out of lists unless asked for."""


class ListChanges(Page):
    """Newest first; ``steps``: with what happened to each."""

    state: ChangeState | None = None
    key: str | None = None
    in_flight: bool = False
    """Only those that something is still to happen to: neither kept, nor rejected, nor rolled back."""
    change_id: Id | None = None
    decided_since: datetime | None = None
    """Only those that came into their state at this moment or later, whenever they were proposed."""
    steps: bool = False


class Changes(Message):
    """Newest first."""

    changes: tuple[Change, ...]
    next_cursor: str | None = None


class ProposeChange(Message):
    """Proposes, and applies at once when ``apply`` (an admin's own edit). ``measured``: what whoever proposes it found;
    what decides is measured after that."""

    kind: ChangeKind = ChangeKind.SETTING
    key: str
    value: Any
    reason: str = Field(default="", max_length=500)
    actor: str
    apply: bool = False
    measured: tuple[Measured, ...] = Field(default=(), max_length=16)


class Decision(StrEnum):
    """What can be done with a change."""

    ACCEPT = "accept"
    """Its evaluation found that it helps; the optimizer's alone, as are the three that follow."""
    TRY_OUT = "try_out"
    """On a share of the traffic."""
    APPLY = "apply"
    KEEP = "keep"
    APPROVE = "approve"
    """An admin's: applies what an operator proposed, permits what the optimizer did."""
    REJECT = "reject"
    ROLL_BACK = "rollback"


class DecideChange(Message):
    """Raises ``change_not_found``, or ``change_state`` when the decision does not fit the change's state.

    A decision that was taken already changes nothing and gives the change as it is, so that it may be asked again.
    """

    change_id: Id
    decision: Decision
    actor: str
    reason: str = Field(default="", max_length=500)
    measured: tuple[Measured, ...] = Field(default=(), max_length=16)
    share: float | None = Field(default=None, gt=0, le=0.5)
    """Of the traffic, where it is tried out."""


LONGEST_TRIAL = timedelta(hours=25)
"""An hour more than whoever drives a trial gives it: by then it is over though nobody ended it."""


class Trial(Message):
    """A setting that is tried out on a share of the conversations."""

    change_id: Id
    key: str
    value: Any
    share: float = Field(gt=0, le=0.5)
    until: datetime | None = None
    """Whoever follows it takes it for ended then; None: nothing is known of when it began."""


class InForce(Message):
    """What the bucket holds: the settings, what is tried out, and the change that the watch looks at."""

    settings: RuntimeSettings
    trial: Trial | None = None
    last_change: Id | None = None


class _Beside(Message):
    trial: Trial | None = None
    last_change: Id | None = None


def told_in_force(in_force: InForce) -> bytes:
    """The bucket's value: the settings' own fields, so that a release that knows no trials reads it as ever, and what
    stands beside them."""
    beside = _Beside(trial=in_force.trial, last_change=in_force.last_change).model_dump(mode="json")
    return json.dumps(in_force.settings.model_dump(mode="json") | beside).encode()


def heard_in_force(value: bytes) -> InForce:
    """What the bucket's value says; a trial that this release can't read is none. Raises ValidationError."""
    settings = RuntimeSettings.model_validate_json(value)
    try:
        beside = _Beside.model_validate_json(value)
    except ValidationError:
        return InForce(settings=settings)
    return InForce(settings=settings, trial=beside.trial, last_change=beside.last_change)


class VerifyLedger(Message):
    """Asks whether the chain holds, signatures included. Reads the whole ledger."""


class LedgerVerified(Message):
    """``broken_at``: the sequence of the first step that doesn't fit; None: all fit."""

    changes: int
    steps: int
    entry_broken_at: int | None = None
    """The sequence of the first entry that doesn't fit the chain of entries; None: all fit."""
    broken_at: int | None = None
    key: str


class SettingsRead(Message):
    """The settings in force, and the change that set them last (None: defaults)."""

    settings: RuntimeSettings
    last_change: Id | None = None
    trial: Trial | None = None


class ReadSettings(Message):
    """Asks for the settings in force."""


class ChangeRecorded(Message):
    """A change entered a state; the entry itself is read from persistence."""

    change_id: Id
    sequence: int
    state: ChangeState
    hash: str
    at: datetime


LEDGER = JetStream(name="LEDGER", max_bytes=64 * MIB)
SETTINGS_KEY = "runtime"

SETTINGS = Bucket(
    name="settings",
    writers=frozenset({Principal.PERSISTENCE}),
    readers=frozenset(
        {Principal.API, Principal.COGNITION, Principal.SCHEDULER, Principal.INFERENCE, Principal.OPTIMIZER}
    ),
)
"""Key ``runtime`` holds InForce, as ``told_in_force`` tells it; written by persistence after commit and again at its
start."""

READ_SETTINGS = Rpc(
    "mongars.v1.persistence.read_settings",
    ReadSettings,
    SettingsRead,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.INFERENCE, Principal.OPTIMIZER}),
)
"""Also for nodes on other machines, which may not read the bucket."""
PROPOSE_CHANGE = Rpc(
    "mongars.v1.persistence.propose_change",
    ProposeChange,
    Change,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPTIMIZER}),
)
DECIDE_CHANGE = Rpc(
    "mongars.v1.persistence.decide_change",
    DecideChange,
    Change,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPTIMIZER}),
)
LIST_CHANGES = Rpc(
    "mongars.v1.persistence.list_changes",
    ListChanges,
    Changes,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPTIMIZER}),
)
VERIFY_LEDGER = Rpc(
    "mongars.v1.persistence.verify_ledger",
    VerifyLedger,
    LedgerVerified,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPTIMIZER}),
    timeout_s=60.0,
)
CHANGE_RECORDED = Event(
    "mongars.v1.persistence.change_recorded",
    ChangeRecorded,
    owner=Principal.PERSISTENCE,
    stream=LEDGER,
)
LEDGER_CHANGED = Broadcast(
    "mongars.v1.persistence.ledger_changed",
    ChangeRecorded,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.OPTIMIZER}),
)
"""The same, told at once to whoever looks at the ledger; lossy."""
