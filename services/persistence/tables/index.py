"""What makes memories searchable, at rest: sealed segments of the index, and which memory stands in one already.

Terms and vectors lie in segments alone, each sealed under a data key of its own (``segments.py``), and are searched in
memory. What is forgotten is gone once its segments are written anew and their old keys overwritten.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Sealed, Slot, Whole

TERMS = ""
"""In place of an embedder: segments of terms."""


class SegmentRow(Base):
    """A sealed piece of one user's index: terms, or vectors of one embedder."""

    __tablename__ = "index_segments"
    __table_args__ = (Index(None, "user_id", "embedder"),)

    segment_id: Mapped[Whole] = mapped_column(primary_key=True, autoincrement=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    embedder: Mapped[str] = mapped_column(String(128))
    tier: Mapped[int]
    """Segments of one tier are merged into one of the next (see ``segments.py``)."""
    count: Mapped[int]
    """Memories in it."""
    first: Mapped[Whole]
    """The lowest of their ordinals: what is forgotten is looked for in few segments."""
    last: Mapped[Whole]
    """The highest."""
    slot: Mapped[Slot] = mapped_column(unique=True)
    content: Mapped[Sealed]


class MemberRow(Base):
    """A memory that stands in a segment; ``ordinal`` is its message's."""

    __tablename__ = "index_members"

    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)
    embedder: Mapped[str] = mapped_column(String(128), primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
