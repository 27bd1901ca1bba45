"""Conversations and their messages, still sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.errors import ConversationNotFound, MessageNotFound
from services.persistence.postgres import Statement
from services.persistence.tables import ConversationRow, MessageRow


async def owner_of(session: AsyncSession, conversation_id: str) -> str | None:
    """Whose conversation it is; None when there is no such."""
    statement = select(ConversationRow.user_id).where(ConversationRow.conversation_id == conversation_id)
    owner: str | None = await session.scalar(statement)
    return owner


async def find(session: AsyncSession, user_id: str, conversation_id: str) -> ConversationRow:
    """The user's conversation. Raises ConversationNotFound, for another user's too."""
    statement = select(ConversationRow).where(
        ConversationRow.conversation_id == conversation_id, ConversationRow.user_id == user_id
    )
    if (row := await session.scalar(statement)) is None:
        raise ConversationNotFound("there is no such conversation")
    return row


async def newest(
    session: AsyncSession, user_id: str, limit: int, before: tuple[datetime, str] | None
) -> Sequence[ConversationRow]:
    """Most recently used first, one more than ``limit`` where there are more."""
    key = tuple_(ConversationRow.updated_at, ConversationRow.conversation_id)
    statement = select(ConversationRow).where(ConversationRow.user_id == user_id)
    if before is not None:
        statement = statement.where(key < tuple_(*map(literal, before)))
    statement = statement.order_by(ConversationRow.updated_at.desc(), ConversationRow.conversation_id.desc())
    return (await session.scalars(statement.limit(limit + 1))).all()


async def messages(
    session: AsyncSession, user_id: str, conversation_id: str, limit: int, after: int
) -> Sequence[MessageRow]:
    """In the order of applying, one more than ``limit`` where there are more."""
    statement = (
        select(MessageRow)
        .where(MessageRow.conversation_id == conversation_id, MessageRow.user_id == user_id, MessageRow.ordinal > after)
        .order_by(MessageRow.ordinal)
        .limit(limit + 1)
    )
    return (await session.scalars(statement)).all()


_PATH = Statement("""
WITH RECURSIVE conversation AS (
  SELECT conversation_id, newest_message_id FROM conversations
  WHERE conversation_id = :conversation_id AND user_id = :user_id
), path AS (
  SELECT m.message_id, m.parent_id, 1 AS depth FROM conversation AS c JOIN messages AS m
    ON m.message_id = coalesce(:leaf, c.newest_message_id) AND m.conversation_id = c.conversation_id
    AND m.user_id = :user_id
  UNION ALL
  SELECT m.message_id, m.parent_id, path.depth + 1 FROM path JOIN messages AS m ON m.message_id = path.parent_id
    AND m.conversation_id = :conversation_id AND m.user_id = :user_id
  WHERE path.depth < :most
)
SELECT c.newest_message_id, m.message_id, m.parent_id, m.speaker, m.text, m.slot, m.at, m.partial
FROM conversation AS c LEFT JOIN (path JOIN messages AS m USING (message_id)) ON true
ORDER BY path.depth DESC
""")


@dataclass(frozen=True)
class Said:
    """A message of a conversation, still sealed."""

    message_id: str
    parent_id: str | None
    speaker: str
    text: bytes
    slot: int
    at: datetime
    partial: bool


async def path_to(driver: Any, user_id: str, conversation_id: str, leaf: str | None, most: int) -> list[Said]:
    """The newest ``most`` messages on the way from the root to ``leaf`` (None: the newest), oldest first.

    Raises ConversationNotFound, for another user's too, and MessageNotFound.
    """
    rows = await _PATH.fetch(driver, user_id=user_id, conversation_id=conversation_id, leaf=leaf, most=most)
    if not rows:
        raise ConversationNotFound("there is no such conversation")
    found = [Said(*message) for _, *message in rows if message[0] is not None]
    if not found and (leaf is not None or rows[0][0] is not None):
        raise MessageNotFound("there is no such message in the conversation")
    return found


async def set_title(
    session: AsyncSession, user_id: str, conversation_id: str, title: bytes, slot: int
) -> tuple[ConversationRow, int | None]:
    """The renamed conversation, and the slot of the title before. Raises ConversationNotFound."""
    found = (ConversationRow.conversation_id == conversation_id, ConversationRow.user_id == user_id)
    before = await session.execute(select(ConversationRow.title_slot).where(*found).with_for_update())
    if (old := before.one_or_none()) is None:
        raise ConversationNotFound("there is no such conversation")
    statement = update(ConversationRow).where(*found).values(title=title, title_slot=slot).returning(ConversationRow)
    renamed = (await session.scalars(statement.execution_options(synchronize_session=False))).one()
    return renamed, old[0]
