"""Settings, and the chain of changes through which alone they change."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Json, Moment, Whole


class ChangeRow(Base):
    """A ledger entry; ``hash`` covers all but its state and decision, and the hash before it. Its state is its last
    step's."""

    __tablename__ = "changes"

    change_id: Mapped[Identifier] = mapped_column(primary_key=True)
    sequence: Mapped[Whole] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(80), index=True)
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


class ChangeStepRow(Base):
    """What happened to a change; all steps of all changes form one chain, and each is signed."""

    __tablename__ = "change_steps"

    sequence: Mapped[Whole] = mapped_column(primary_key=True, autoincrement=False)
    change_id: Mapped[Identifier] = mapped_column(ForeignKey("changes.change_id"), index=True)
    change_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(String(500))
    measured: Mapped[Json]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64))
    signature: Mapped[str] = mapped_column(String(128))


class TrialRow(Base):
    """What is tried out on a share of the conversations. One at a time, so that what it does can be told apart."""

    __tablename__ = "trials"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    change_id: Mapped[Identifier] = mapped_column(ForeignKey("changes.change_id"))
    share: Mapped[float]


class LedgerHeadRow(Base):
    """The ends of both chains; locked by whoever appends or decides. One row."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[Whole]
    hash: Mapped[str] = mapped_column(String(64))
    step_sequence: Mapped[Whole]
    step_hash: Mapped[str] = mapped_column(String(64))


class SettingRow(Base):
    """A setting that differs from its default, and the change that set it."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Json]
    change_id: Mapped[Identifier] = mapped_column(ForeignKey("changes.change_id"))
    set_at: Mapped[Moment]
