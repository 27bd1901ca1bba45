"""Conversations as trees of sealed messages, and how far the stream of turns was applied."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Moment, Sealed, Slot, Whole


class ConversationRow(Base):
    """A conversation's heading. Imports, notes and documents are conversations too, each of its ``kind``."""

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "user_id", "updated_at", "conversation_id"),
        Index(
            "uq_conversations_name",
            "user_id",
            "name_hash",
            unique=True,
            postgresql_where=text("name_hash IS NOT NULL"),
        ),
    )

    conversation_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16), default="chat")
    """``chat``, ``import``, ``notes`` or ``document``."""
    remembered: Mapped[bool] = mapped_column(default=True)
    title: Mapped[Sealed | None]
    """Of an import at first the id that it was imported under, of a document its name."""
    about: Mapped[Sealed | None]
    """Of a document: media type, size, pages, digest, as JSON under the title's key."""
    name_hash: Mapped[bytes | None]
    """Keyed hash of a document's name: another of the name replaces it."""
    title_slot: Mapped[Slot | None] = mapped_column(unique=True)
    newest_message_id: Mapped[Identifier | None]
    """The leaf that the next turn continues."""
    message_count: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class TurnRow(Base):
    """What one data key seals: a turn that came by the stream, or a single imported turn, note or passage."""

    __tablename__ = "turns"

    turn_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[Identifier] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), index=True
    )
    slot: Mapped[Slot] = mapped_column(unique=True)
    epoch: Mapped[str | None] = mapped_column(String(64))
    sequence: Mapped[Whole | None]
    """Where it lay in the stream; None for what did not come by it."""
    recalled: Mapped[list[str]] = mapped_column(ARRAY(String(64)), default=list)
    """The memories that stood in its prompt."""
    model: Mapped[str | None]
    partial: Mapped[bool]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    at: Mapped[Moment]


class MessageRow(Base):
    """One message, sealed with its turn's key; ``ordinal`` is the order of applying, and its number in the index."""

    __tablename__ = "messages"
    __table_args__ = (
        Index(None, "conversation_id", "ordinal"),
        Index(None, "user_id", "at", "ordinal"),
        Index(
            "uq_messages_source",
            "user_id",
            "source_hash",
            unique=True,
            postgresql_where=text("source_hash IS NOT NULL"),
        ),
        Index("ix_messages_said", "user_id", "said_hash", postgresql_where=text("said_hash IS NOT NULL")),
    )

    message_id: Mapped[Identifier] = mapped_column(primary_key=True)
    ordinal: Mapped[Whole] = mapped_column(Identity(always=True), unique=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    conversation_id: Mapped[Identifier] = mapped_column(ForeignKey("conversations.conversation_id", ondelete="CASCADE"))
    turn_id: Mapped[Identifier] = mapped_column(ForeignKey("turns.turn_id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[Identifier | None]
    """Within the conversation; applying sees to that."""
    kind: Mapped[str] = mapped_column(String(16), default="message")
    """``message``, ``note`` or ``passage``."""
    speaker: Mapped[str] = mapped_column(String(16))
    """``user``, ``assistant``, or ``other``, whose name stands in ``about``."""
    text: Mapped[Sealed]
    about: Mapped[Sealed | None]
    """JSON under the same key: ``name`` of the speaker, ``source_id``, ``page``."""
    source_hash: Mapped[bytes | None]
    """Keyed hash of the id that it was imported under: the same id is imported once."""
    said_hash: Mapped[bytes | None]
    """Keyed hash of who said what, of what came by the stream: a client's resent history is found again by it."""
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
