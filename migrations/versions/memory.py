"""A memory of imports, notes, documents and facts, and an index that is sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.String(length=64)
_MOMENT = sa.DateTime(timezone=True)
_OLD_INDEX = ("embeddings", "posting_blocks", "documents", "index_statistics")


class _Vector(UserDefinedType[bytes]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "vector"


def _references(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{target}.{column}"], name=name, ondelete="CASCADE")


def _add(table: str, *columns: sa.Column[object]) -> None:
    for column in columns:
        op.add_column(table, column)


def _extend_conversations() -> None:
    _add(
        "conversations",
        sa.Column("kind", sa.String(length=16), nullable=False, server_default="chat"),
        sa.Column("remembered", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("about", sa.LargeBinary(), nullable=True),
        sa.Column("name_hash", sa.LargeBinary(), nullable=True),
    )
    op.create_index(
        "uq_conversations_name",
        "conversations",
        ["user_id", "name_hash"],
        unique=True,
        postgresql_where=sa.text("name_hash IS NOT NULL"),
    )
    _add(
        "turns",
        sa.Column("recalled", postgresql.ARRAY(_ID), nullable=False, server_default="{}"),
    )
    op.alter_column("turns", "epoch", nullable=True)
    op.alter_column("turns", "sequence", nullable=True)
    _add(
        "messages",
        sa.Column("kind", sa.String(length=16), nullable=False, server_default="message"),
        sa.Column("about", sa.LargeBinary(), nullable=True),
        sa.Column("source_hash", sa.LargeBinary(), nullable=True),
    )
    op.drop_index(op.f("ix_messages_user_id"), table_name="messages")
    op.create_index(op.f("ix_messages_user_id_at_ordinal"), "messages", ["user_id", "at", "ordinal"])
    op.create_index(
        "uq_messages_source",
        "messages",
        ["user_id", "source_hash"],
        unique=True,
        postgresql_where=sa.text("source_hash IS NOT NULL"),
    )


def _create_index() -> None:
    op.create_table(
        "index_segments",
        sa.Column("segment_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("embedder", sa.String(length=128), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        _references("index_segments", "user_id", "users"),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_index_segments")),
        sa.UniqueConstraint("slot", name=op.f("uq_index_segments_slot")),
    )
    op.create_index(op.f("ix_index_segments_user_id_embedder"), "index_segments", ["user_id", "embedder"])
    op.create_table(
        "index_members",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("embedder", sa.String(length=128), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        _references("index_members", "user_id", "users"),
        sa.PrimaryKeyConstraint("user_id", "embedder", "ordinal", name=op.f("pk_index_members")),
    )


def _create_memories() -> None:
    op.create_table(
        "memory_states",
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used_at", _MOMENT, nullable=True),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("importance", sa.Float(), nullable=True),
        _references("memory_states", "message_id", "messages"),
        _references("memory_states", "user_id", "users"),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_memory_states")),
    )
    op.create_index(op.f("ix_memory_states_user_id"), "memory_states", ["user_id"])
    op.create_table(
        "facts",
        sa.Column("fact_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("fact", sa.LargeBinary(), nullable=False),
        sa.Column("valid_from", _MOMENT, nullable=False),
        sa.Column("valid_to", _MOMENT, nullable=True),
        sa.Column("superseded_by", _ID, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        _references("facts", "user_id", "users"),
        sa.PrimaryKeyConstraint("fact_id", name=op.f("pk_facts")),
        sa.UniqueConstraint("slot", name=op.f("uq_facts_slot")),
    )
    op.create_index(op.f("ix_facts_user_id_valid_from_fact_id"), "facts", ["user_id", "valid_from", "fact_id"])
    op.create_table(
        "fact_sources",
        sa.Column("fact_id", _ID, nullable=False),
        sa.Column("message_id", _ID, nullable=False),
        _references("fact_sources", "fact_id", "facts"),
        _references("fact_sources", "message_id", "messages"),
        sa.PrimaryKeyConstraint("fact_id", "message_id", name=op.f("pk_fact_sources")),
    )
    op.create_index(op.f("ix_fact_sources_message_id"), "fact_sources", ["message_id"])
    op.create_table(
        "receipts",
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("receipt", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_receipts")),
    )
    op.create_index(op.f("ix_receipts_user_id_at_receipt_id"), "receipts", ["user_id", "at", "receipt_id"])


def _extend_forgettings() -> None:
    _add(
        "forgettings",
        sa.Column("scope", sa.String(length=16), nullable=True),
        sa.Column("subject_id", _ID, nullable=True),
        sa.Column("slots", postgresql.ARRAY(sa.BigInteger()), nullable=False, server_default="{}"),
        sa.Column("done", postgresql.JSONB(), nullable=True),
    )
    op.execute(
        "UPDATE forgettings SET scope = CASE WHEN conversation_id IS NULL THEN 'account' ELSE 'conversation' END, "
        "subject_id = coalesce(conversation_id, user_id)"
    )
    op.alter_column("forgettings", "scope", nullable=False)
    op.alter_column("forgettings", "subject_id", nullable=False)
    op.drop_column("forgettings", "conversation_id")


def _ask_to_index_again() -> None:
    """One job for every 64 messages of a user: what the old index held is made anew, sealed."""
    op.execute("DELETE FROM outbox WHERE kind = 'index_messages'")
    op.execute("DELETE FROM jobs WHERE kind = 'index_messages'")
    op.execute("""
        INSERT INTO jobs (job_id, kind, state, attempts, payload, queued_at, offered_at, user_id, conversation_id)
        SELECT job_id, 'index_messages', 'queued', 0,
          jsonb_build_object('user_id', user_id, 'message_ids', message_ids, 'job_id', job_id),
          now(), to_timestamp(0), user_id, NULL
        FROM (
          SELECT replace(gen_random_uuid()::text, '-', '') AS job_id, user_id, jsonb_agg(message_id) AS message_ids
          FROM (
            SELECT message_id, user_id,
              (row_number() OVER (PARTITION BY user_id ORDER BY ordinal) - 1) / 64 AS portion
            FROM messages
          ) AS numbered
          GROUP BY user_id, portion
        ) AS portions
    """)


def _recreate_documents() -> None:
    op.create_table(
        "index_statistics",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_index_statistics_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_index_statistics")),
    )
    op.create_table(
        "documents",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        _references("documents", "conversation_id", "conversations"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.message_id"], name=op.f("fk_documents_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_documents_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_documents")),
        sa.UniqueConstraint("user_id", "number", name=op.f("uq_documents_user_id_number")),
    )
    op.create_index(op.f("ix_documents_conversation_id"), "documents", ["conversation_id"])
    op.create_index(op.f("ix_documents_user_id_conversation_id"), "documents", ["user_id", "conversation_id"])


def _recreate_postings() -> None:
    op.create_table(
        "posting_blocks",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("term", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("postings", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name=op.f("fk_posting_blocks_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "term", "block", name=op.f("pk_posting_blocks")),
    )
    op.create_table(
        "embeddings",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("embedder", sa.String(length=128), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("conversation_id", sa.String(length=64), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("vector", _Vector(), nullable=False),
        _references("embeddings", "conversation_id", "conversations"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.message_id"], name=op.f("fk_embeddings_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_embeddings_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("message_id", "embedder", name=op.f("pk_embeddings")),
    )
    op.create_index(op.f("ix_embeddings_conversation_id"), "embeddings", ["conversation_id"])
    op.create_index(op.f("ix_embeddings_user_id_embedder"), "embeddings", ["user_id", "embedder"])


def upgrade() -> None:
    _extend_conversations()
    _create_index()
    _create_memories()
    _extend_forgettings()
    for table in _OLD_INDEX:
        op.drop_table(table)
    _ask_to_index_again()


def downgrade() -> None:
    """Back to the first schema. What only this one can hold (facts, notes, documents, imports, the sealed index) is
    lost; the old index is made anew from the messages that stay."""
    _recreate_documents()
    _recreate_postings()
    op.execute("DELETE FROM conversations WHERE kind IN ('notes', 'document', 'import')")
    for table in ("receipts", "fact_sources", "facts", "memory_states", "index_members", "index_segments"):
        op.drop_table(table)
    op.drop_index("uq_conversations_name", table_name="conversations")
    op.drop_index("uq_messages_source", table_name="messages")
    op.drop_index(op.f("ix_messages_user_id_at_ordinal"), table_name="messages")
    op.create_index(op.f("ix_messages_user_id"), "messages", ["user_id"])
    for table, columns in {
        "messages": ("kind", "about", "source_hash"),
        "turns": ("recalled",),
        "conversations": ("kind", "remembered", "about", "name_hash"),
    }.items():
        for column in columns:
            op.drop_column(table, column)
    op.alter_column("turns", "epoch", nullable=False)
    op.alter_column("turns", "sequence", nullable=False)
    op.add_column("forgettings", sa.Column("conversation_id", _ID, nullable=True))
    op.execute("DELETE FROM forgettings WHERE scope NOT IN ('conversation', 'account')")
    op.execute("UPDATE forgettings SET conversation_id = subject_id WHERE scope = 'conversation'")
    for column in ("scope", "subject_id", "slots", "done"):
        op.drop_column("forgettings", column)
    _ask_to_index_again()
