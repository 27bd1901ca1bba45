"""Conversations as trees of sealed messages, and how far the stream of turns was applied."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Moment, Sealed, Slot, Whole


class ConversationRow(Base):
    """A conversation's heading."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "user_id", "updated_at", "conversation_id"),)

    conversation_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    title: Mapped[Sealed | None]
    title_slot: Mapped[Slot | None] = mapped_column(unique=True)
    newest_message_id: Mapped[Identifier | None]
    """The leaf that the next turn continues."""
    message_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class TurnRow(Base):
    """A kept turn: its data key's slot, and where it lay in the stream."""

    __tablename__ = "turns"

    turn_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[Identifier] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), index=True
    )
    slot: Mapped[Slot] = mapped_column(unique=True)
    epoch: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[Whole]
    model: Mapped[str | None]
    partial: Mapped[bool]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    at: Mapped[Moment]


class MessageRow(Base):
    """One message, sealed with its turn's key; ``ordinal`` is the order of applying."""

    __tablename__ = "messages"
    __table_args__ = (Index(None, "conversation_id", "ordinal"),)

    message_id: Mapped[Identifier] = mapped_column(primary_key=True)
    ordinal: Mapped[Whole] = mapped_column(Identity(always=True), unique=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[Identifier] = mapped_column(ForeignKey("conversations.conversation_id", ondelete="CASCADE"))
    turn_id: Mapped[Identifier] = mapped_column(ForeignKey("turns.turn_id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[Identifier | None]
    """Within the conversation; applying sees to that."""
    speaker: Mapped[str] = mapped_column(String(16))
    text: Mapped[Sealed]
    slot: Mapped[Slot]
    partial: Mapped[bool]
    at: Mapped[Moment]


class WatermarkRow(Base):
    """The position up to which every turn is applied, skipped or quarantined. One row."""

    __tablename__ = "watermark"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[Whole]


class AppliedPositionRow(Base):
    """A message that still lies in the stream although it was dealt with; erased once it is due."""

    __tablename__ = "applied_positions"

    epoch: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequence: Mapped[Whole] = mapped_column(primary_key=True)
    erase_after: Mapped[Moment] = mapped_column(index=True)


class QuarantinedMessageRow(Base):
    """A turn that could not be applied: kept, still sealed, for a person to look at."""

    __tablename__ = "quarantined_messages"

    id: Mapped[Whole] = mapped_column(Identity(always=True), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(String(64))
    epoch: Mapped[str] = mapped_column(String(64))
    sequence: Mapped[Whole]
    user_id: Mapped[str | None] = mapped_column(String(64), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(64), index=True)
    slots: Mapped[list[int]] = mapped_column(ARRAY(BIGINT))
    payload: Mapped[Sealed]
    at: Mapped[Moment]
