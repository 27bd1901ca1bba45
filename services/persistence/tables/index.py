"""What makes messages searchable without their text: keyed terms in packed blocks, and vectors."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Sealed, VectorType, Whole


class StatisticsRow(Base):
    """What BM25 needs of one user's documents; locked by whoever changes that user's index."""

    __tablename__ = "index_statistics"

    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)
    documents: Mapped[Whole] = mapped_column(default=0)
    tokens: Mapped[Whole] = mapped_column(default=0)
    """Sum of the documents' lengths."""
    next_number: Mapped[Whole] = mapped_column(default=0)


class DocumentRow(Base):
    """A message whose terms are indexed, under the number that postings use."""

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("user_id", "number"),
        Index(None, "user_id", "conversation_id"),
        Index(None, "conversation_id"),
    )

    message_id: Mapped[Identifier] = mapped_column(
        ForeignKey("messages.message_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    conversation_id: Mapped[Identifier] = mapped_column(ForeignKey("conversations.conversation_id", ondelete="CASCADE"))
    number: Mapped[Whole]
    length: Mapped[int]


class PostingBlockRow(Base):
    """Up to 512 postings of one keyed term (see ``postings.py``); only a term's last block grows."""

    __tablename__ = "posting_blocks"

    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)
    term: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[int]
    postings: Mapped[Sealed]


class EmbeddingRow(Base):
    """A message's vector by one embedder; two embedders' are never compared."""

    __tablename__ = "embeddings"
    __table_args__ = (Index(None, "user_id", "embedder"),)

    message_id: Mapped[Identifier] = mapped_column(
        ForeignKey("messages.message_id", ondelete="CASCADE"), primary_key=True
    )
    embedder: Mapped[str] = mapped_column(String(128), primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    conversation_id: Mapped[Identifier] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), index=True
    )
    dimensions: Mapped[int]
    vector: Mapped[bytes] = mapped_column(VectorType)
