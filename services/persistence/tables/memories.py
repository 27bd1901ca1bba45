"""What is known of memories beyond their text: use, pins, facts, and receipts of what was forgotten."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Json, Moment, Sealed, Slot


class MemoryStateRow(Base):
    """How a memory was used, and what its user set; a memory without a row was never used and nothing is set."""

    __tablename__ = "memory_states"

    message_id: Mapped[Identifier] = mapped_column(
        ForeignKey("messages.message_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    uses: Mapped[int] = mapped_column(default=0)
    used_at: Mapped[Moment | None]
    pinned: Mapped[bool] = mapped_column(default=False)
    importance: Mapped[float | None]
    """0..1, as the user set it."""


class FactRow(Base):
    """A fact, sealed under a key of its own; what it says and of whom stands in ``fact`` alone."""

    __tablename__ = "facts"
    __table_args__ = (Index(None, "user_id", "valid_from", "fact_id"),)

    fact_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    slot: Mapped[Slot] = mapped_column(unique=True)
    fact: Mapped[Sealed]
    """JSON: subject, attribute, value, text, extractor."""
    valid_from: Mapped[Moment]
    valid_to: Mapped[Moment | None]
    superseded_by: Mapped[Identifier | None]
    created_at: Mapped[Moment]


class FactSourceRow(Base):
    """A memory that a fact was drawn from. A fact without any is removed."""

    __tablename__ = "fact_sources"

    fact_id: Mapped[Identifier] = mapped_column(ForeignKey("facts.fact_id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[Identifier] = mapped_column(
        ForeignKey("messages.message_id", ondelete="CASCADE"), primary_key=True, index=True
    )


class ReceiptRow(Base):
    """A signed receipt: ids and counts. It outlives what it tells of, the account included."""

    __tablename__ = "receipts"
    __table_args__ = (Index(None, "user_id", "at", "receipt_id"),)

    receipt_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier]
    at: Mapped[Moment]
    receipt: Mapped[Json]
    """The receipt as it was handed out, signature included."""
