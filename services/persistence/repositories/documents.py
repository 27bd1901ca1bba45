"""Documents: headings whose name and description are sealed, found again by a keyed hash of the name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.persistence.postgres import Statement


@dataclass(frozen=True)
class SealedDocument:
    """A document's heading, still sealed."""

    document_id: str
    title: bytes | None
    about: bytes | None
    slot: int | None
    passages: int
    added_at: datetime
    updated_at: datetime


_COLUMNS = "SELECT c.conversation_id, c.title, c.about, c.title_slot, c.message_count, c.created_at, c.updated_at "
_MINE = "FROM conversations AS c WHERE c.user_id = :user_id AND c.kind = 'document' "
_ONE = Statement(_COLUMNS + _MINE + "AND c.conversation_id = :document_id")
_LISTED = Statement(
    _COLUMNS
    + _MINE
    + "AND (c.updated_at, c.conversation_id) < (CAST(:at AS timestamptz), CAST(:id AS varchar)) "
    + "ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT :most"
)
_NAMED = Statement(_COLUMNS + _MINE + "AND c.name_hash = :name_hash")
_UNNAME = Statement("""
UPDATE conversations SET name_hash = NULL WHERE user_id = :user_id AND conversation_id = :document_id
""")


async def one(driver: Any, user_id: str, document_id: str) -> SealedDocument | None:
    """None when the user has no such document."""
    rows = await _ONE.fetch(driver, user_id=user_id, document_id=document_id)
    return SealedDocument(*rows[0]) if rows else None


async def listed(driver: Any, user_id: str, before: tuple[datetime, str], most: int) -> list[SealedDocument]:
    """Newest first, one more than ``most`` where there are more."""
    rows = await _LISTED.fetch(driver, user_id=user_id, at=before[0], id=before[1], most=most + 1)
    return [SealedDocument(*row) for row in rows]


async def named(driver: Any, user_id: str, name_hash: bytes) -> SealedDocument | None:
    """The document of this name."""
    rows = await _NAMED.fetch(driver, user_id=user_id, name_hash=name_hash)
    return SealedDocument(*rows[0]) if rows else None


async def unname(driver: Any, user_id: str, document_id: str) -> None:
    """Another may have its name."""
    await _UNNAME.fetch(driver, user_id=user_id, document_id=document_id)
