"""Thumbs, consents, and which adapter was trained on what: by keyed hashes, which say nothing without the installation
key and outlive what they stand for."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Identity, Index, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Moment, Whole


class RatingRow(Base):
    """A thumb on the answer of a turn; it goes with the turn."""

    __tablename__ = "ratings"
    __table_args__ = (Index(None, "user_id", "at", "turn_id"),)

    turn_id: Mapped[Identifier] = mapped_column(ForeignKey("turns.turn_id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    thumb: Mapped[str] = mapped_column(String(8))
    at: Mapped[Moment]


class TrainingChoiceRow(Base):
    """What a user decided for all conversations; without a row nothing is allowed."""

    __tablename__ = "training_choices"

    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)
    future_since: Mapped[Moment | None]
    """Conversations that began since then are allowed unless it was decided otherwise; None: none is."""
    share_adapters: Mapped[bool] = mapped_column(default=False)
    tuning: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Questions that were asked may be replayed."""


class ConsentRow(Base):
    """What a user decided for one conversation; it goes with the conversation."""

    __tablename__ = "conversation_consents"

    conversation_id: Mapped[Identifier] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    allowed: Mapped[bool]
    at: Mapped[Moment]


class DatasetRow(Base):
    """A dataset that was drawn from conversations."""

    __tablename__ = "training_datasets"

    dataset_id: Mapped[Identifier] = mapped_column(primary_key=True)
    exchanges: Mapped[int]
    owners: Mapped[int]
    """How many people's words are in it; more than ``training_owners`` has once one of them is gone."""
    recorded_at: Mapped[Moment]


class DatasetOwnerRow(Base):
    """Whose words are in a dataset, while they have an account."""

    __tablename__ = "training_owners"

    dataset_id: Mapped[Identifier] = mapped_column(
        ForeignKey("training_datasets.dataset_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[Identifier] = mapped_column(
        ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True, index=True
    )


class DatasetMemberRow(Base):
    """A turn in a dataset, by the keyed hashes of its id, of its conversation's and of its owner's."""

    __tablename__ = "training_members"

    dataset_id: Mapped[Identifier] = mapped_column(
        ForeignKey("training_datasets.dataset_id", ondelete="CASCADE"), primary_key=True
    )
    turn: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True, index=True)
    conversation: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    owner: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    tainted: Mapped[bool] = mapped_column(default=False)
    """It was forgotten, edited or withdrawn since."""


class TrainedAdapterRow(Base):
    """An adapter, and a dataset that it was trained on."""

    __tablename__ = "trained_adapters"

    adapter: Mapped[Identifier] = mapped_column(primary_key=True)
    dataset_id: Mapped[Identifier] = mapped_column(
        ForeignKey("training_datasets.dataset_id", ondelete="CASCADE"), primary_key=True, index=True
    )
    recorded_at: Mapped[Moment]


class TaintRow(Base):
    """Something of a dataset that may no longer be used: why, how much, since when."""

    __tablename__ = "training_taints"

    id: Mapped[Whole] = mapped_column(Identity(always=True), primary_key=True)
    dataset_id: Mapped[Identifier] = mapped_column(
        ForeignKey("training_datasets.dataset_id", ondelete="CASCADE"), index=True
    )
    cause: Mapped[str] = mapped_column(String(16))
    """``forgotten``, ``edited`` or ``withdrawn``."""
    exchanges: Mapped[int]
    at: Mapped[Moment]
