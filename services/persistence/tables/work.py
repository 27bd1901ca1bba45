"""What has to be done or remembered beyond one transaction: events to publish, jobs, forgettings, tombstones."""

from __future__ import annotations

from sqlalchemy import Identity, Index, String, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT
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


_UNDONE = text("state <> 'done'")


class JobRow(Base):
    """A background job. What isn't done is found fast, however many jobs are."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "queued_at", "job_id"),
        Index(None, "state", "queued_at", "job_id"),
        Index("ix_jobs_undone_of_user", "user_id", "queued_at", postgresql_where=_UNDONE),
        Index("ix_jobs_undone", "offered_at", postgresql_where=_UNDONE),
    )

    job_id: Mapped[Identifier] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(String(200))
    payload: Mapped[Json]
    """What its event says: ids, never text."""
    queued_at: Mapped[Moment]
    offered_at: Mapped[Moment]
    """When its event was last put into the outbox."""
    finished_at: Mapped[Moment | None]
    user_id: Mapped[str | None] = mapped_column(String(64), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(64), index=True)


class ForgettingRow(Base):
    """A forgetting that was promised; finished at start if it was cut short."""

    __tablename__ = "forgettings"

    id: Mapped[Whole] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[Identifier]
    scope: Mapped[str] = mapped_column(String(16))
    """As in a receipt: ``memory``, ``fact``, ``conversation``, ``document``, ``everything`` or ``account``; ``keys``
    alone for slots that rows needed until something was sealed anew."""
    subject_id: Mapped[Identifier]
    slots: Mapped[list[int]] = mapped_column(ARRAY(BIGINT), default=list)
    """The keys to destroy, once no row needs them any more. Not given out before the promise is kept."""
    done: Mapped[Json | None]
    """What the rows' removal took (see ``repositories/forgetting.py``); None: it hasn't happened yet."""


class TombstoneRow(Base):
    """What was forgotten, so that nothing late brings it back."""

    __tablename__ = "tombstones"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    """``user``, ``conversation`` or ``turn``."""
    id: Mapped[Identifier] = mapped_column(primary_key=True)
    at: Mapped[Moment]
