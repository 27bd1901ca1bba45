"""Settings and the ledger through which alone they change: persistence keeps both."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from libs.shared.contracts.base import MIB, Bucket, Event, JetStream, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page, Stamp


class RecallWeights(Message):
    """What each part of a memory's score weighs; relative to each other (measured: ``docs/memory.md``).

    Parts lie between 0 and 1 before they are weighed.
    """

    terms: float = Field(default=1.0, ge=0, le=10)
    """BM25 within the turns around, of the best."""
    meaning: float = Field(default=0.8, ge=0, le=10)
    """Cosine, of the best."""
    episode_terms: float = Field(default=0.5, ge=0, le=10)
    """The best ``terms`` of what was said at the same time."""
    episode_meaning: float = Field(default=0.65, ge=0, le=10)
    speaker: float = Field(default=0.85, ge=0, le=10)
    """Said by the one whom the question names."""
    subject: float = Field(default=0.55, ge=0, le=10)
    """Said by the first of several whom it names."""
    length: float = Field(default=0.6, ge=0, le=10)
    asks: float = Field(default=-0.25, ge=-10, le=10)
    """It is a question itself."""
    time_told: float = Field(default=0.65, ge=0, le=10)
    """It tells a time, and the question asks for one."""
    time: float = Field(default=1.3, ge=0, le=10)
    """Said near the time that the question names."""
    number: float = Field(default=0.4, ge=0, le=10)
    name: float = Field(default=0.7, ge=0, le=10)
    strength: float = Field(default=0.1, ge=0, le=10)
    """What is left of it by age, use and importance."""
    importance: float = Field(default=0.05, ge=0, le=10)
    repetition: float = Field(default=0.5, ge=0, le=1)
    """Share of its score that a memory loses for telling word for word what a better one tells."""


class Canary(Message):
    """A model with an adapter that answers some of the conversations of a role, to be tried out."""

    model: str = Field(max_length=256, pattern=r"^.+:[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """``MODEL:ADAPTER``."""
    share: float = Field(gt=0, le=1)
    """Of the conversations: one that has it keeps it while the share grows."""


class Trying(StrEnum):
    """How a setting may be tried before it holds for all, and by whom it may be set; stands beside its field."""

    BY_CONVERSATION = "by_conversation"
    """Cognition reads it for one conversation at a time, so that a share of them can have another value."""
    BY_PEOPLE = "by_people"
    """The optimizer may not touch it: it says what may leave the network, or what the optimizer itself may do."""


class ChangeKind(StrEnum):
    """What a change is of, and so what applying it does."""

    SETTING = "setting"
    """``key`` names a field of RuntimeSettings; an adapter goes into service and out of it by one as well."""
    DIGEST = "digest"
    """``key`` is ``digest:`` and a user's id; ``before`` and ``after`` name a generation of that user's digests (None:
    none), and the commitment to it: what it says lies in erasable rows."""


class RuntimeSettings(Message):
    """What may be changed while the installation runs. Every change is a ledger entry and can be rolled back."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    default_model: str | None = None
    """The model for requests that name none, or the role ``chat``; None takes the first that is served."""
    code_model: str | None = Field(default=None, max_length=256)
    """The model for requests that name the role ``code``; None: the one for ``chat``."""
    chat_canary: Canary | None = None
    """What answers a share of the conversations that name no model, or the role ``chat``; where it can't, the role's
    own model does."""
    code_canary: Canary | None = None
    """Likewise of those that name the role ``code``."""
    embedder: str | None = Field(default=None, max_length=128, pattern=r"^[\w.-]+@[\w.-]+$")
    """``name@version`` of the embedder that every memory should have vectors of; None: each keeps the one that it has,
    and a new one takes the first that is served."""
    recall_k: Annotated[int, Trying.BY_CONVERSATION] = Field(default=8, ge=0, le=50)
    """Most memories in a prompt."""
    recall_weights: Annotated[RecallWeights, Trying.BY_CONVERSATION] = RecallWeights()
    """Set as a whole, so that one roll-back restores them all; a weight that is left out has its default."""
    recall_min_score: Annotated[float, Trying.BY_CONVERSATION] = Field(default=0.4, ge=0, le=1)
    """Least evidence, by terms or by meaning, that a memory needs to stand in a prompt; the scale does not depend on
    the question."""
    prompt_memory_share: Annotated[float, Trying.BY_CONVERSATION] = Field(default=0.35, ge=0, le=0.9)
    """Share of the model's context that memories may take."""
    extraction: Literal["rules", "model"] = "rules"
    """What draws facts from what was said: rules, or rules and then a language model that can keep to a JSON schema."""
    remote_models: Annotated[bool, Trying.BY_PEOPLE] = False
    """Whether what is asked may leave this network for models on remote servers; each is marked where it is chosen."""
    placement_policy: Literal["expected_completion", "least_in_flight", "power_of_two"] = "expected_completion"
    """Where requests run: where they end first and make others wait least, or by queues alone (docs/nodes.md)."""
    night_training: Annotated[bool, Trying.BY_PEOPLE] = False
    """Whether an adapter is trained anew by night where people allow more to be trained on than its last run had; off:
    the night only says that it would be worth it."""
    hedging: bool = False
    """Whether a short request whose first token is late is sent to a second node as well; the slower one is stopped."""
    hedging_share: float = Field(default=0.05, gt=0, le=0.2)
    """Of all requests, how many may be sent to a second node."""
    hedging_prompt_tokens: int = Field(default=1024, ge=0, le=32_768)
    """A request with more to read, as it is estimated when it is placed, is not short."""
    hedging_answer_tokens: int = Field(default=512, ge=0, le=32_768)
    """And one that may be answered at greater length; 512 are allowed where a request doesn't say."""
    approval: Annotated[Literal["none", "digests", "settings", "all"], Trying.BY_PEOPLE] = "none"
    """Of which changes that the optimizer proposes, and found to help, an administrator has to allow each."""

    def asks_approval(self, kind: ChangeKind) -> bool:
        """Whether an administrator has to allow the optimizer's changes of this kind."""
        return self.approval in ("all", f"{kind.value}s")


def trying(key: str) -> frozenset[Trying]:
    """What is declared beside a setting; nothing for a key that is none."""
    field = RuntimeSettings.model_fields.get(key)
    return frozenset(mark for mark in field.metadata if isinstance(mark, Trying)) if field else frozenset()


OPTIMIZER_ACTOR = "optimizer"
"""In whose name the optimizer proposes and decides."""


class ChangeState(StrEnum):
    """The life of a change. What is in force: ``applied`` (and watched), ``kept``, and ``canary`` for its share.

    An operator's own edit goes from ``proposed`` to ``applied`` by an admin's leave; the optimizer's is evaluated
    first, and waits for ``approved`` where the policy asks for it.
    """

    PROPOSED = "proposed"
    EVALUATED = "evaluated"
    """Measured, and found to help."""
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
    steps: bool = False


class Changes(Message):
    """Newest first."""

    changes: tuple[Change, ...]
    next_cursor: str | None = None


class ProposeChange(Message):
    """Proposes, and applies at once when ``apply`` (an admin's own edit)."""

    kind: ChangeKind = ChangeKind.SETTING
    key: str
    value: Any
    reason: str = Field(default="", max_length=500)
    actor: str
    apply: bool = False


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


class Trial(Message):
    """A setting that is tried out on a share of the conversations."""

    change_id: Id
    key: str
    value: Any
    share: float = Field(gt=0, le=0.5)


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
