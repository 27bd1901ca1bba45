"""Conversations and their messages, still sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.errors import ConversationNotFound, MessageNotFound
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


async def path_to(session: AsyncSession, conversation: ConversationRow, leaf: str, most: int) -> Sequence[MessageRow]:
    """The newest ``most`` messages on the way from the root to ``leaf``, oldest first. Raises MessageNotFound."""
    within = (
        MessageRow.conversation_id == conversation.conversation_id,
        MessageRow.user_id == conversation.user_id,
    )
    path = (
        select(MessageRow.message_id, MessageRow.parent_id, literal(1).label("depth"))
        .where(MessageRow.message_id == leaf, *within)
        .cte("path", recursive=True)
    )
    path = path.union_all(
        select(MessageRow.message_id, MessageRow.parent_id, path.c.depth + 1)
        .join(path, MessageRow.message_id == path.c.parent_id)
        .where(path.c.depth < most, *within)
    )
    statement = select(MessageRow).join(path, MessageRow.message_id == path.c.message_id).order_by(path.c.depth.desc())
    found = (await session.scalars(statement)).all()
    if not found:
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
