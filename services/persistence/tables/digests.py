"""What nights made of memories: generations of digests, each digest sealed under its memory's own key."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Moment, Sealed, Slot


class DigestGenerationRow(Base):
    """What one night added; at most one of a user is in force."""

    __tablename__ = "digest_generations"
    __table_args__ = (
        UniqueConstraint("user_id", "number"),
        Index("uq_digest_generations_in_force", "user_id", unique=True, postgresql_where=text("in_force")),
    )

    generation_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    number: Mapped[int]
    base: Mapped[int]
    """The first generation whose digests still count once this one is in force."""
    recipe: Mapped[str] = mapped_column(String(64))
    embedder: Mapped[str | None] = mapped_column(String(128))
    commitment: Mapped[str | None] = mapped_column(String(64))
    """None: still being written."""
    in_force: Mapped[bool] = mapped_column(default=False)
    change_id: Mapped[Identifier | None]
    """The change that put it in force last."""
    created_at: Mapped[Moment]


class DigestRow(Base):
    """One memory's digest; nothing of it can be read without the memory's key, and it goes with the memory."""

    __tablename__ = "digests"
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "number"],
            ["digest_generations.user_id", "digest_generations.number"],
            name="fk_digests_generation",
            ondelete="CASCADE",
        ),
        Index(None, "user_id", "number"),
    )

    message_id: Mapped[Identifier] = mapped_column(
        ForeignKey("messages.message_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier]
    version: Mapped[Slot]
    """The slot of the key that seals it: the memory's, when it was digested."""
    content: Mapped[Sealed]
