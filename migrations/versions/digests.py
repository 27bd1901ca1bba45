"""Digests of memories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.String(length=64)


def upgrade() -> None:
    op.create_table(
        "digest_generations",
        sa.Column("generation_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("base", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("embedder", sa.String(length=128), nullable=True),
        sa.Column("commitment", sa.String(length=64), nullable=True),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("change_id", _ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_digest_generations_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("generation_id", name=op.f("pk_digest_generations")),
        sa.UniqueConstraint("user_id", "number", name=op.f("uq_digest_generations_user_id_number")),
    )
    op.create_index(
        "uq_digest_generations_in_force",
        "digest_generations",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("in_force"),
    )
    op.create_table(
        "digests",
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.message_id"], name=op.f("fk_digests_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id", "number"],
            ["digest_generations.user_id", "digest_generations.number"],
            name="fk_digests_generation",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "number", name=op.f("pk_digests")),
    )
    op.create_index(op.f("ix_digests_user_id_number"), "digests", ["user_id", "number"])


def downgrade() -> None:
    op.drop_table("digests")
    op.drop_table("digest_generations")
