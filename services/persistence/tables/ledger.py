"""Settings, and the chain of changes through which alone they change."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Json, Moment, Whole


class ChangeRow(Base):
    """A ledger entry; ``hash`` covers all but its state and decision, and the hash before it."""

    __tablename__ = "changes"

    change_id: Mapped[Identifier] = mapped_column(primary_key=True)
    sequence: Mapped[Whole] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(64), index=True)
    before: Mapped[Json]
    after: Mapped[Json]
    reason: Mapped[str] = mapped_column(String(500))
    state: Mapped[str] = mapped_column(String(16))
    proposed_by: Mapped[str] = mapped_column(String(128))
    proposed_at: Mapped[Moment]
    decided_by: Mapped[str | None] = mapped_column(String(128))
    decided_at: Mapped[Moment | None]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class LedgerHeadRow(Base):
    """The end of the chain; locked by whoever appends or decides. One row."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[Whole]
    hash: Mapped[str] = mapped_column(String(64))


class SettingRow(Base):
    """A setting that differs from its default, and the change that set it."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Json]
    change_id: Mapped[Identifier] = mapped_column(ForeignKey("changes.change_id"))
    set_at: Mapped[Moment]
