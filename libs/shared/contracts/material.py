"""What may be trained on, handed to the trainer; and the record of what was trained on it, so that a later change of
mind marks it.

Spoken by the trainer and persistence. Material leaves persistence readable, as an export does, and only what its owner
allows at that moment.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from libs.shared.contracts.base import MIB, Broadcast, Message, Principal, Rpc, Stream
from libs.shared.contracts.common import AdapterName, Id, Page
from libs.shared.contracts.ratings import Thumb

_TRAINER = frozenset({Principal.TRAINER})
_ASKING = frozenset({Principal.TRAINER, Principal.API, Principal.SCHEDULER})
"""Who has to know whether an adapter may be used, and by whom."""
MOST_MEMBERS = 100_000
"""Exchanges of one dataset."""


class Chosen(StrEnum):
    """Which exchanges of conversations that may be trained on. One that was rated down is never given."""

    ALLOWED = "allowed"
    RATED_UP = "rated_up"


class TrainingMaterial(Message):
    """Asks for what may be trained on, owner by owner, oldest first."""

    owners: tuple[Id, ...] = Field(default=(), max_length=1000)
    """Of these alone; empty: of everybody."""
    chosen: Chosen = Chosen.ALLOWED
    unseen_by: tuple[Id, ...] = Field(default=(), max_length=16)
    """Datasets: no conversation of which they have anything is given."""


class Exchange(Message):
    """One turn of a conversation that may be trained on: what was said, and what was answered."""

    turn_id: Id
    conversation_id: Id
    owner: Id
    owner_name: str
    """Of the account, so that it can be taken out of what is trained on."""
    version: int
    """Of its text: an edit gives another. Goes into the record of a dataset."""
    question: str
    answer: str
    at: datetime
    rating: Thumb | None = None
    partial: bool = False
    """The model broke off."""
    quoted: bool = False
    """No model wrote it: it quotes memories."""
    model: str | None = None


class MaterialChunk(Message):
    """Some exchanges; the stream ends after the last."""

    exchanges: tuple[Exchange, ...]


class CountMaterial(Message):
    """Asks how much may be trained on now, of everybody together."""

    since: datetime | None = None


class MaterialCounted(Message):
    """Answers that may be trained on and weren't rated down."""

    exchanges: int
    since_then: int
    """Of those, given at that moment or later."""
    conversations: int


class Member(Message):
    """A turn in a dataset, as it was read."""

    turn_id: Id
    version: int


class RecordDataset(Message):
    """Says what a dataset was drawn from, before anything is trained on it. The same record again changes nothing.

    Raises ``material_withdrawn`` (``data["turn_ids"]``: those that were forgotten, edited or withdrawn since they were
    read), ``already_recorded`` for another record under that id.
    """

    dataset_id: Id
    members: tuple[Member, ...] = Field(min_length=1, max_length=MOST_MEMBERS)


class DatasetRecorded(Message):
    """Whose words are in it, and whether each of them lets others use what is trained on it."""

    dataset_id: Id
    owners: tuple[Id, ...]
    shared: bool
    everybody: bool = False
    """There is no account but theirs."""


class RecordAdapter(Message):
    """Says which datasets an adapter was trained on, before it is put anywhere. The same record again changes nothing.

    Raises ``dataset_not_found``, ``already_recorded`` for another record under that name.
    """

    adapter: AdapterName
    datasets: tuple[Id, ...] = Field(min_length=1, max_length=16)


class Taint(Message):
    """Something that an adapter was trained on, and that may no longer be used."""

    cause: str
    """``forgotten``, ``edited`` or ``withdrawn``."""
    exchanges: int
    at: datetime


class TrainedAdapter(Message):
    """An adapter that was trained on people's words: whose, who may use it, and what of it is tainted.

    An adapter of which there is no record isn't one of these; whoever trained it elsewhere answers for it.
    """

    adapter: AdapterName
    datasets: tuple[Id, ...]
    owners: tuple[Id, ...]
    """Those that still have an account."""
    shared: bool
    """Each of them lets others use it, as of now; never again once one of them is gone."""
    taints: tuple[Taint, ...] = ()
    """Oldest first; empty: all that it was trained on may still be used."""
    recorded_at: datetime

    @property
    def tainted(self) -> bool:
        """Whether anything that it was trained on may no longer be used."""
        return bool(self.taints)

    def usable_by(self, user_id: str) -> bool:
        """Whether that user may be answered by it: one whose words trained it, or anybody where all of them agree."""
        return self.shared or user_id in self.owners


class ListTrained(Page):
    """Adapters that were trained on people's words, by name."""

    adapters: tuple[AdapterName, ...] = Field(default=(), max_length=256)
    """Of these alone; empty: all."""
    owner: Id | None = None
    """Only those that this user's words trained."""
    tainted: bool = False
    """Only those that are tainted."""


class Trained(Message):
    """A page."""

    adapters: tuple[TrainedAdapter, ...]
    next_cursor: str | None = None


class StandingChanged(Message):
    """These adapters were tainted, or other people may use them now than before: LIST_TRAINED tells how it stands."""

    adapters: tuple[AdapterName, ...]


TRAINING_MATERIAL = Stream(
    "mongars.v1.persistence.training_material",
    TrainingMaterial,
    MaterialChunk,
    owner=Principal.PERSISTENCE,
    callers=_TRAINER,
    max_bytes=64 * MIB,
    window=4,
)
COUNT_MATERIAL = Rpc(
    "mongars.v1.persistence.count_material",
    CountMaterial,
    MaterialCounted,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.OPTIMIZER}),
)
RECORD_DATASET = Rpc(
    "mongars.v1.persistence.record_dataset",
    RecordDataset,
    DatasetRecorded,
    owner=Principal.PERSISTENCE,
    callers=_TRAINER,
    max_bytes=16 * MIB,
    timeout_s=60.0,
)
RECORD_ADAPTER = Rpc(
    "mongars.v1.persistence.record_adapter",
    RecordAdapter,
    TrainedAdapter,
    owner=Principal.PERSISTENCE,
    callers=_TRAINER,
    timeout_s=15.0,
)
LIST_TRAINED = Rpc(
    "mongars.v1.persistence.list_trained",
    ListTrained,
    Trained,
    owner=Principal.PERSISTENCE,
    callers=_ASKING,
    max_bytes=4 * MIB,
)
STANDING_CHANGED = Broadcast(
    "mongars.v1.persistence.standing_changed",
    StandingChanged,
    owner=Principal.PERSISTENCE,
    callers=_ASKING | {Principal.COGNITION},
)
