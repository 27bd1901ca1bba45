"""Programs that people have: messages are found again by keyed hashes of what was said, and keys speak for accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("said_hash", sa.LargeBinary(), nullable=True))
    op.create_index(
        "ix_messages_said", "messages", ["user_id", "said_hash"], postgresql_where=sa.text("said_hash IS NOT NULL")
    )
    op.create_table(
        "key_mappings",
        sa.Column("mapping_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.key_id"], name=op.f("fk_key_mappings_key_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_key_mappings_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mapping_id", name=op.f("pk_key_mappings")),
    )
    op.create_index(op.f("ix_key_mappings_key_id"), "key_mappings", ["key_id"])
    op.create_index(op.f("ix_key_mappings_user_id"), "key_mappings", ["user_id"])


def downgrade() -> None:
    op.drop_table("key_mappings")
    op.drop_index("ix_messages_said", table_name="messages")
    op.drop_column("messages", "said_hash")
