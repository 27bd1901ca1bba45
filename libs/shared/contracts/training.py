"""Training runs: asked for at the trainer, kept by persistence, told of while they go on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from libs.shared.contracts.base import Broadcast, Consumer, Empty, Event, Message, Principal, Rpc
from libs.shared.contracts.common import AdapterName, Id, Page
from libs.shared.contracts.jobs import JOBS

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Of a file or folder, without the path to it."""


class RunKind(StrEnum):
    """What is trained: a text encoder out of a decoder, by masked next-token prediction and then SimCSE; or an adapter
    that answers as people were answered whose conversations may be trained on. Or nothing, and what was trained before
    is measured anew."""

    MNTP = "mntp"
    ADAPTER = "adapter"
    EVALUATE = "evaluate"


NEEDED = {
    RunKind.MNTP: ("model",),
    RunKind.ADAPTER: ("model", "adapter"),
    RunKind.EVALUATE: ("evaluate",),
}
"""What a run can't do without."""


class RunState(StrEnum):
    """A run is queued until the trainer begins it, and runs until it ends in one of the other ways."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


class MntpOptions(Message):
    """How long and how wide both trainings are; the defaults are the published ones (LLM2Vec, D.1)."""

    steps: int = Field(default=1000, ge=1, le=1_000_000)
    """Of masked next-token prediction."""
    batch: int = Field(default=32, ge=1, le=4096)
    """Rows that such a step learns from."""
    block_tokens: int = Field(default=512, ge=8, le=8192)
    """Of a row."""
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    contrast_steps: int = Field(default=1000, ge=0, le=1_000_000)
    """Of SimCSE after it; 0 leaves it out."""
    contrast_batch: int = Field(default=128, ge=2, le=4096)
    """Sentences that such a step tells apart."""
    sentence_tokens: int = Field(default=128, ge=4, le=8192)
    """Longer sentences are cut."""
    contrast_learning_rate: float = Field(default=3e-5, gt=0, le=1)
    checkpoint_steps: int = Field(default=100, ge=1, le=100_000)
    """A run that is killed loses no more than so many."""


class AdapterOptions(Message):
    """How long and how wide an adapter's training is; rate and batch are QLoRA's (Dettmers et al. 2023, appendix B)."""

    passes: float = Field(default=3.0, gt=0, le=1000)
    """So often each exchange is read."""
    batch: int = Field(default=16, ge=1, le=4096)
    """Exchanges that a step learns from; fewer where there are fewer."""
    row_tokens: int = Field(default=1024, ge=16, le=8192)
    """Longer exchanges are left out."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    rank: int = Field(default=16, ge=1, le=256)
    checkpoint_steps: int = Field(default=100, ge=1, le=100_000)


class AdapterWanted(Message):
    """An adapter out of conversations that their owners allow to be trained on."""

    name: AdapterName
    base: str | None = Field(default=None, min_length=1, max_length=190)
    """The name under which its model is served; None: that of the model's folder."""
    owners: tuple[Id, ...] = Field(default=(), max_length=1000)
    """Of these users' words alone; empty: of everybody's who allows it."""
    rated_up: bool = False
    """Only answers that were rated up."""
    options: AdapterOptions = AdapterOptions()


class Evaluated(Message):
    """What is measured anew: an adapter that is kept, or a run whose encoder lies in its folder."""

    subject: AdapterName
    run: Id | None = None
    """The run whose encoder it is; the trainer finds it out, and None for an adapter."""


class StartRun(Message):
    """A new run. Its model is a Hugging Face folder in ``models``. An encoder's ``text`` is a file in
    ``training/texts`` of the state folder, and ``options`` are its own; an adapter has ``adapter`` in their place, and
    a ``text`` only to be measured on, as ``evaluate`` has.

    Raises ``training_unavailable`` (what training needs isn't installed), ``model_not_found``, ``unsupported``,
    ``text_not_found`` (of the text or of the pairs), ``model_does_not_fit`` (with what would), ``adapter_exists``,
    ``nothing_to_train_on`` (and why).
    """

    kind: RunKind = RunKind.MNTP
    model: FileName | None = None
    """Of ``evaluate`` the trainer finds it out."""
    text: FileName | None = None
    sts: FileName | None = None
    """An encoder's: pairs of sentences that people rated, in ``training/texts``, to measure it on."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    options: MntpOptions = MntpOptions()
    adapter: AdapterWanted | None = None
    evaluate: Evaluated | None = None
    own: bool = False
    """An encoder learns from what may be trained on, too. Everybody's memories are embedded by it: each whose words it
    learns from has to share what is trained on them, unless there are no others."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> StartRun:
        for needed in NEEDED[self.kind]:
            if getattr(self, needed) is None:
                raise ValueError(f"A run of kind {self.kind.value} needs {needed}")
        if self.kind is RunKind.MNTP and self.text is None and not self.own:
            raise ValueError("An encoder needs a text, or one's own words")
        return self


class RunProgress(Message):
    """Where a run stands."""

    phase: Literal["waiting", "gathering", "loading", "mntp", "simcse", "sft", "saving", "measuring"]
    """``waiting``: for a machine with room, heat and power, or until requests are over; ``gathering``: what may be
    trained on is read and curated."""
    step: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    """Of this phase."""
    loss: float | None = None
    """In nats, since the last report."""
    tokens_per_s: float | None = None
    mfu: float | None = None
    """Share of the hardware's peak; None where the peak isn't known."""
    seconds_left: float | None = None
    """Of this phase."""
    held_by: tuple[str, ...] = ()
    """What the run makes way for now: ``request``, or as in JobPlacement."""


class TrainingRun(Message):
    """A run as it is kept."""

    run_id: Id
    kind: RunKind
    state: RunState
    model: str
    text: str | None = None
    sts: str | None = None
    seed: int
    options: MntpOptions = MntpOptions()
    adapter: AdapterWanted | None = None
    evaluate: Evaluated | None = None
    own: bool = False
    progress: RunProgress | None = None
    error: str | None = None
    """A code; ``detail`` says more."""
    detail: str | None = None
    """Of a run that is done: how its evaluation decided, with the numbers."""
    metrics: dict[str, float] = Field(default_factory=dict)
    artefact: str | None = None
    """The encoder or adapter that came of it and is kept, by its name; None where its evaluation refused it. Of
    ``evaluate`` what was measured, where it is better."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class RunRef(Message):
    """A run. Raises ``run_not_found``."""

    run_id: Id


class ListRuns(Page):
    """Runs, optionally in one state."""

    state: RunState | None = None


class TrainingRuns(Message):
    """Newest first."""

    runs: tuple[TrainingRun, ...]
    next_cursor: str | None = None


class ReportRun(Message):
    """What the trainer says of a run; a report of one that has ended changes nothing."""

    run_id: Id
    state: RunState
    progress: RunProgress | None = None
    error: str | None = None
    detail: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    artefact: str | None = None


class RunProgressed(Message):
    """Lossy: what is kept says the same a moment later."""

    run_id: Id
    state: RunState
    progress: RunProgress


class TrainingRequested(Message):
    """A run waits to be begun, or to be taken up again."""

    run_id: Id


_READERS = frozenset({Principal.API, Principal.CLI, Principal.TRAINER, Principal.OPTIMIZER})
_TRAINER = frozenset({Principal.TRAINER})
_ASKERS = frozenset({Principal.API, Principal.CLI})
_STARTERS = _ASKERS | {Principal.OPTIMIZER}
"""The optimizer only where ``night_training`` permits it."""

START_RUN = Rpc(
    "mongars.v1.trainer.start_run", StartRun, TrainingRun, owner=Principal.TRAINER, callers=_STARTERS, timeout_s=60.0
)
CANCEL_RUN = Rpc(
    "mongars.v1.trainer.cancel_run", RunRef, TrainingRun, owner=Principal.TRAINER, callers=_ASKERS, timeout_s=30.0
)
"""Returns once it has ended; one that has ended already is answered as it is."""
REMOVE_RUN = Rpc(
    "mongars.v1.trainer.remove_run",
    RunRef,
    Empty,
    owner=Principal.TRAINER,
    callers=frozenset({Principal.CLI}),
    timeout_s=30.0,
)
"""Its folder and its record, for good; what is recorded of the words that trained an adapter stays. Raises
``run_not_found``, ``run_under_way`` for one that hasn't ended."""
RUN_PROGRESSED = Broadcast(
    "mongars.v1.trainer.run_progressed",
    RunProgressed,
    owner=Principal.TRAINER,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPERATOR, Principal.OPS}),
)
RUN_CHANGED = Broadcast(
    "mongars.v1.persistence.run_changed", RunRef, owner=Principal.PERSISTENCE, callers=frozenset({Principal.API})
)
"""It is new, or in another state: whoever shows runs reads them again."""
KEEP_RUN = Rpc("mongars.v1.persistence.keep_run", StartRun, TrainingRun, owner=Principal.PERSISTENCE, callers=_TRAINER)
"""Keeps the run, and its job, in one transaction."""
REPORT_RUN = Rpc(
    "mongars.v1.persistence.report_run", ReportRun, TrainingRun, owner=Principal.PERSISTENCE, callers=_TRAINER
)
"""The run as it is kept then; raises ``run_not_found``."""
FORGET_RUN = Rpc("mongars.v1.persistence.forget_run", RunRef, Empty, owner=Principal.PERSISTENCE, callers=_TRAINER)
"""Raises as REMOVE_RUN."""
READ_RUN = Rpc("mongars.v1.persistence.read_run", RunRef, TrainingRun, owner=Principal.PERSISTENCE, callers=_READERS)
LIST_RUNS = Rpc(
    "mongars.v1.persistence.list_runs", ListRuns, TrainingRuns, owner=Principal.PERSISTENCE, callers=_READERS
)
TRAINING_REQUESTED = Event(
    "mongars.v1.persistence.training_requested",
    TrainingRequested,
    owner=Principal.PERSISTENCE,
    stream=JOBS,
    # one run at a time; each stop of the machine is a delivery, so that their number says nothing against a run
    consumers=(
        Consumer(
            name="train", service=Principal.TRAINER, max_ack_pending=1, at_once=1, ack_wait_s=15.0, max_deliver=100_000
        ),
    ),
)
