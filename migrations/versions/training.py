"""Thumbs on answers, what may be trained on, and which adapter was trained on what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.String(length=64)
_MOMENT = sa.DateTime(timezone=True)
_TABLES = (
    "training_taints",
    "trained_adapters",
    "training_members",
    "training_owners",
    "training_datasets",
    "conversation_consents",
    "training_choices",
    "ratings",
)


def _references(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{target}.{column}"], name=name, ondelete="CASCADE")


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _create_decisions() -> None:
    op.create_table(
        "ratings",
        sa.Column("turn_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("thumb", sa.String(length=8), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        _references("ratings", "turn_id", "turns"),
        _references("ratings", "user_id", "users"),
        _primary("ratings", "turn_id"),
    )
    _index("ratings", "user_id", "at", "turn_id")
    op.create_table(
        "training_choices",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("future_since", _MOMENT, nullable=True),
        sa.Column("share_adapters", sa.Boolean(), nullable=False),
        _references("training_choices", "user_id", "users"),
        _primary("training_choices", "user_id"),
    )
    op.create_table(
        "conversation_consents",
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        _references("conversation_consents", "conversation_id", "conversations"),
        _references("conversation_consents", "user_id", "users"),
        _primary("conversation_consents", "conversation_id"),
    )
    _index("conversation_consents", "user_id")


def _create_datasets() -> None:
    op.create_table(
        "training_datasets",
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("exchanges", sa.Integer(), nullable=False),
        sa.Column("owners", sa.Integer(), nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        _primary("training_datasets", "dataset_id"),
    )
    op.create_table(
        "training_owners",
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        _references("training_owners", "dataset_id", "training_datasets"),
        _references("training_owners", "user_id", "users"),
        _primary("training_owners", "dataset_id", "user_id"),
    )
    _index("training_owners", "user_id")
    op.create_table(
        "training_members",
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("turn", sa.LargeBinary(), nullable=False),
        sa.Column("conversation", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.LargeBinary(), nullable=False),
        sa.Column("tainted", sa.Boolean(), nullable=False),
        _references("training_members", "dataset_id", "training_datasets"),
        _primary("training_members", "dataset_id", "turn"),
    )
    for column in ("turn", "conversation", "owner"):
        _index("training_members", column)


def _create_adapters() -> None:
    op.create_table(
        "trained_adapters",
        sa.Column("adapter", _ID, nullable=False),
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        _references("trained_adapters", "dataset_id", "training_datasets"),
        _primary("trained_adapters", "adapter", "dataset_id"),
    )
    _index("trained_adapters", "dataset_id")
    op.create_table(
        "training_taints",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dataset_id", _ID, nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("exchanges", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        _references("training_taints", "dataset_id", "training_datasets"),
        _primary("training_taints", "id"),
    )
    _index("training_taints", "dataset_id")


def upgrade() -> None:
    _create_decisions()
    _create_datasets()
    _create_adapters()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
