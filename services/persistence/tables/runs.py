"""Training runs: what was asked for, how it goes, and what came of it."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Json, Moment


class TrainingRunRow(Base):
    """A run. Names and figures alone: the text that it learns from lies in a file."""

    __tablename__ = "training_runs"
    __table_args__ = (Index(None, "created_at", "run_id"),)

    run_id: Mapped[Identifier] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    request: Mapped[Json]
    """What was asked for, as in the contract."""
    progress: Mapped[Json | None]
    error: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(String(500))
    metrics: Mapped[Json]
    artefact: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[Moment]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
