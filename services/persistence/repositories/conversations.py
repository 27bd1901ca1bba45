"""Conversations and their messages, still sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.errors import ConversationNotFound, MessageNotFound
from services.persistence.postgres import Statement
from services.persistence.tables import ConversationRow, MessageRow

_EARLIEST = datetime.min.replace(tzinfo=UTC)
TALKS = ("chat", "import")
"""The kinds that are listed, read and continued as conversations; notes and documents only look like them."""
READABLE = (*TALKS, "document")
"""A document's passages are read in their order as a conversation's messages are."""


async def owner_of(session: AsyncSession, conversation_id: str) -> str | None:
    """Whose conversation it is; None when there is none that could be continued."""
    statement = select(ConversationRow.user_id).where(
        ConversationRow.conversation_id == conversation_id, ConversationRow.kind.in_(TALKS)
    )
    owner: str | None = await session.scalar(statement)
    return owner


async def find(session: AsyncSession, user_id: str, *names: str, kinds: Sequence[str] = TALKS) -> ConversationRow:
    """The user's conversation under the first of ``names`` that there is. Raises ConversationNotFound, for another
    user's too."""
    statement = select(ConversationRow).where(
        ConversationRow.conversation_id.in_(names), ConversationRow.user_id == user_id, ConversationRow.kind.in_(kinds)
    )
    rows = {row.conversation_id: row for row in await session.scalars(statement)}
    for name in names:
        if name in rows:
            return rows[name]
    raise ConversationNotFound("there is no such conversation")


async def newest(
    session: AsyncSession, user_id: str, limit: int, before: tuple[datetime, str] | None
) -> Sequence[ConversationRow]:
    """Most recently used first, one more than ``limit`` where there are more."""
    key = tuple_(ConversationRow.updated_at, ConversationRow.conversation_id)
    statement = select(ConversationRow).where(ConversationRow.user_id == user_id, ConversationRow.kind.in_(TALKS))
    if before is not None:
        statement = statement.where(key < tuple_(*map(literal, before)))
    statement = statement.order_by(ConversationRow.updated_at.desc(), ConversationRow.conversation_id.desc())
    return (await session.scalars(statement.limit(limit + 1))).all()


async def messages(
    session: AsyncSession, user_id: str, conversation: ConversationRow, limit: int, after: tuple[datetime, int] | None
) -> Sequence[MessageRow]:
    """In the order of applying (imported ones, which may come in any order, as they were said), one more than
    ``limit`` where there are more."""
    of_conversation = (MessageRow.conversation_id == conversation.conversation_id, MessageRow.user_id == user_id)
    statement = select(MessageRow).where(*of_conversation).limit(limit + 1)
    if conversation.kind == "chat":
        statement = statement.order_by(MessageRow.ordinal)
        beyond: ColumnElement[bool] = MessageRow.ordinal > (after[1] if after else 0)
    else:
        statement = statement.order_by(MessageRow.at, MessageRow.ordinal)
        beyond = tuple_(MessageRow.at, MessageRow.ordinal) > tuple_(*map(literal, after or (_EARLIEST, 0)))
    return (await session.scalars(statement.where(beyond))).all()


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
SELECT c.newest_message_id, m.message_id, m.parent_id, m.speaker, m.text, m.about, m.slot, m.at, m.partial
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
    about: bytes | None
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


_CHANGE = Statement("""
WITH before AS (
  SELECT conversation_id, title_slot, remembered FROM conversations
  WHERE conversation_id = :conversation_id AND user_id = :user_id FOR UPDATE
)
UPDATE conversations AS c SET
  title = coalesce(:title, c.title), title_slot = coalesce(:slot, c.title_slot),
  remembered = coalesce(CAST(:remembered AS boolean), c.remembered)
FROM before WHERE c.conversation_id = before.conversation_id
RETURNING c.conversation_id, before.title_slot, before.remembered, c.remembered
""")


@dataclass(frozen=True)
class Changed:
    """What a conversation was before a change, and is since."""

    conversation_id: str
    old_title_slot: int | None
    was_remembered: bool
    remembered: bool


async def change(
    driver: Any, user_id: str, conversation_id: str, title: tuple[int, bytes] | None, remembered: bool | None
) -> Changed:
    """Sets what is given (``title`` is its slot and its sealed text). Raises ConversationNotFound."""
    slot, sealed = title or (None, None)
    rows = await _CHANGE.fetch(
        driver, user_id=user_id, conversation_id=conversation_id, title=sealed, slot=slot, remembered=remembered
    )
    if not rows:
        raise ConversationNotFound("there is no such conversation")
    return Changed(*rows[0])
