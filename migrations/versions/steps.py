"""What happens to a change, step by step, and what is tried out; earlier changes get theirs when persistence starts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.String(length=64)
_HASH = sa.String(length=64)


def upgrade() -> None:
    op.alter_column("changes", "key", type_=sa.String(length=80), existing_type=sa.String(length=64))
    op.add_column("ledger_head", sa.Column("step_sequence", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("ledger_head", sa.Column("step_hash", _HASH, nullable=False, server_default="0" * 64))
    op.alter_column("ledger_head", "step_sequence", server_default=None)
    op.alter_column("ledger_head", "step_hash", server_default=None)
    op.create_table(
        "change_steps",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("change_hash", _HASH, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("measured", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("previous_hash", _HASH, nullable=False),
        sa.Column("hash", _HASH, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["change_id"], ["changes.change_id"], name=op.f("fk_change_steps_change_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_change_steps")),
    )
    op.create_index(op.f("ix_change_steps_change_id"), "change_steps", ["change_id"])
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_trials_one_row")),
        sa.ForeignKeyConstraint(["change_id"], ["changes.change_id"], name=op.f("fk_trials_change_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
    )


def downgrade() -> None:
    op.drop_table("trials")
    op.drop_table("change_steps")
    op.drop_column("ledger_head", "step_hash")
    op.drop_column("ledger_head", "step_sequence")
    op.execute("DELETE FROM changes WHERE length(key) > 64")
    op.alter_column("changes", "key", type_=sa.String(length=64), existing_type=sa.String(length=80))
