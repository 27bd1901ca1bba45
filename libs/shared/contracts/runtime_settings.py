"""What may be changed while the installation runs: each setting's default, bounds, and how it may be tried."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from libs.shared.contracts.base import Message


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


WorkersOf = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
WorkerCount = Annotated[int, Field(ge=0, le=64)]


class Trying(StrEnum):
    """How a setting may be tried before it holds for all, and by whom it may be set; stands beside its field."""

    BY_CONVERSATION = "by_conversation"
    """Cognition reads it for one conversation at a time, so that a share of them can have another value."""
    BY_PEOPLE = "by_people"
    """The optimizer may not touch it: it says what may leave the network, or what the optimizer itself may do."""


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
    index_memory_mib: int | None = Field(default=None, ge=16, le=1_048_576)
    """How much of users' indexes persistence keeps in memory; the longest unused are given up for others. None: as
    ``MONGARS_INDEX_MEMORY_MIB`` says."""
    extraction: Literal["rules", "model"] = "rules"
    """What draws facts from what was said: rules, or rules and then a language model that can keep to a JSON schema."""
    remote_models: Annotated[bool, Trying.BY_PEOPLE] = False
    """Whether what is asked may leave this network for models on remote servers; each is marked where it is chosen."""
    placement_policy: Literal["expected_completion", "least_in_flight", "power_of_two"] = "expected_completion"
    """Where requests run: where they end first and make others wait least, or by queues alone (docs/nodes.md)."""
    placement_others: float = Field(default=1.0, ge=0, le=100)
    """What later requests' waiting weighs against a request's own end, where it is placed by ``expected_completion``: 0
    places each where it ends first, more leaves fast nodes to those that come later."""
    night_training: Annotated[bool, Trying.BY_PEOPLE] = False
    """Whether an adapter is trained anew by night where people allow more to be trained on than its last run had; off:
    the night only says that it would be worth it."""
    drafted_answers: int = Field(default=8, ge=0, le=64)
    """Most answers that a night drafts to what will probably be asked, where a language model has room; 0: none."""
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

    workers: dict[WorkersOf, WorkerCount] = Field(default={}, max_length=32)
    """How many of each there are, such as ``{"cognition": 2}``: processes, containers or a deployment's replicas, as
    the installation is run (docs/scaling.md). One that isn't named has as many as it was set up with; 0: it rests."""


def trying(key: str) -> frozenset[Trying]:
    """What is declared beside a setting; nothing for a key that is none."""
    field = RuntimeSettings.model_fields.get(key)
    return frozenset(mark for mark in field.metadata if isinstance(mark, Trying)) if field else frozenset()
