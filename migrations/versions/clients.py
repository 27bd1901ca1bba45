"""Clients that resend their history: messages are found again by keyed hashes of what was said."""

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


def downgrade() -> None:
    op.drop_index("ix_messages_said", table_name="messages")
    op.drop_column("messages", "said_hash")
