"""What has to be done or remembered beyond one transaction: events to publish, jobs, forgettings, tombstones."""

from __future__ import annotations

from sqlalchemy import Identity, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Json, Moment, Whole


class OutboxRow(Base):
    """An event that was decided in a transaction and is published after it; the row goes once the stream has it."""

    __tablename__ = "outbox"

    id: Mapped[Whole] = mapped_column(Identity(always=True), primary_key=True)
    message_id: Mapped[str] = mapped_column(String(128), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[Json]
    user_id: Mapped[str | None] = mapped_column(String(64), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(64), index=True)


class JobRow(Base):
    """A background job; its id is the message id of the event that carries it."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "queued_at", "job_id"), Index(None, "state", "queued_at", "job_id"))

    job_id: Mapped[Identifier] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(String(200))
    queued_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]
    user_id: Mapped[str | None] = mapped_column(String(64), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(64), index=True)


class ForgettingRow(Base):
    """A forgetting that was promised; finished at start if it was cut short. ``conversation_id`` None: the user."""

    __tablename__ = "forgettings"

    id: Mapped[Whole] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[Identifier]
    conversation_id: Mapped[Identifier | None]


class TombstoneRow(Base):
    """What was forgotten, so that nothing late brings it back."""

    __tablename__ = "tombstones"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    """``user`` or ``conversation``."""
    id: Mapped[Identifier] = mapped_column(primary_key=True)
    at: Mapped[Moment]
