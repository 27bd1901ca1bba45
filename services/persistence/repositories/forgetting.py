"""What of a user or a conversation lies where, and its removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Position
from services.persistence.repositories import index
from services.persistence.tables import (
    AppliedPositionRow,
    ConversationRow,
    ForgettingRow,
    JobRow,
    MessageRow,
    OutboxRow,
    QuarantinedMessageRow,
    TombstoneRow,
    TurnRow,
    UserRow,
)

_UNSYNCHRONISED = {"synchronize_session": False}
_KEYS_A_STATEMENT = 1000
"""PostgreSQL takes at most 32,767 parameters."""


@dataclass(frozen=True)
class Removed:
    """What a transaction removed; the slots are to be destroyed before it commits."""

    slots: frozenset[int]
    messages: int
    positions: tuple[Position, ...]


async def promise(session: AsyncSession, user_id: str, conversation_id: str | None, now: datetime) -> int:
    """Writes the tombstone and the promise to forget; its id."""
    kind, buried = ("user", user_id) if conversation_id is None else ("conversation", conversation_id)
    await session.execute(upsert(TombstoneRow).values(kind=kind, id=buried, at=now).on_conflict_do_nothing())
    statement = insert(ForgettingRow).values(user_id=user_id, conversation_id=conversation_id)
    return (await session.scalars(statement.returning(ForgettingRow.id))).one()


async def promised(session: AsyncSession) -> Sequence[ForgettingRow]:
    """Forgettings that are not finished."""
    return (await session.scalars(select(ForgettingRow).order_by(ForgettingRow.id))).all()


async def keep_promise(session: AsyncSession, forgetting_id: int) -> None:
    """It is done."""
    await session.execute(
        delete(ForgettingRow).where(ForgettingRow.id == forgetting_id).execution_options(**_UNSYNCHRONISED)
    )


async def remove_conversation(session: AsyncSession, user_id: str, conversation_id: str, now: datetime) -> Removed:
    """Removes a conversation with everything derived from it."""
    await index.remove_conversation(session, user_id, conversation_id)
    slots, positions = await _turns(session, TurnRow.conversation_id == conversation_id)
    messages = await _count(session, MessageRow.conversation_id == conversation_id)
    slots |= await _side_rows(session, "conversation_id", conversation_id)
    removed = delete(ConversationRow).where(ConversationRow.conversation_id == conversation_id)
    titles = await session.scalars(removed.returning(ConversationRow.title_slot).execution_options(**_UNSYNCHRONISED))
    slots |= {slot for slot in titles if slot is not None}
    await _erase_soon(session, positions, now)
    return Removed(frozenset(slots), messages, positions)


async def remove_user(session: AsyncSession, user_id: str, now: datetime) -> Removed:
    """Removes an account with everything it said."""
    slots, positions = await _turns(session, TurnRow.user_id == user_id)
    messages = await _count(session, MessageRow.user_id == user_id)
    slots |= await _side_rows(session, "user_id", user_id)
    titled = select(ConversationRow.title_slot).where(
        ConversationRow.user_id == user_id, ConversationRow.title_slot.is_not(None)
    )
    slots |= {slot for slot in await session.scalars(titled) if slot is not None}
    removed = delete(UserRow).where(UserRow.user_id == user_id).returning(UserRow.key_slot)
    slots |= set(await session.scalars(removed.execution_options(**_UNSYNCHRONISED)))
    await _erase_soon(session, positions, now)
    return Removed(frozenset(slots), messages, positions)


async def _turns(session: AsyncSession, chosen: ColumnElement[bool]) -> tuple[set[int], tuple[Position, ...]]:
    found = (await session.execute(select(TurnRow.slot, TurnRow.epoch, TurnRow.sequence).where(chosen))).all()
    positions = tuple(Position(epoch=epoch, sequence=sequence) for _, epoch, sequence in found)
    return {slot for slot, _, _ in found}, positions


async def _count(session: AsyncSession, chosen: ColumnElement[bool]) -> int:
    return await session.scalar(select(func.count()).select_from(MessageRow).where(chosen)) or 0


async def _side_rows(session: AsyncSession, column: str, value: str) -> set[int]:
    """Removes jobs, events and quarantined turns; the slots of the latter."""
    for table in (JobRow, OutboxRow):
        await session.execute(delete(table).where(getattr(table, column) == value).execution_options(**_UNSYNCHRONISED))
    quarantined = delete(QuarantinedMessageRow).where(getattr(QuarantinedMessageRow, column) == value)
    found = await session.scalars(
        quarantined.returning(QuarantinedMessageRow.slots).execution_options(**_UNSYNCHRONISED)
    )
    return {slot for slots in found for slot in slots}


async def _erase_soon(session: AsyncSession, positions: Sequence[Position], now: datetime) -> None:
    key = tuple_(AppliedPositionRow.epoch, AppliedPositionRow.sequence)
    for start in range(0, len(positions), _KEYS_A_STATEMENT):
        chosen = [(p.epoch, p.sequence) for p in positions[start : start + _KEYS_A_STATEMENT]]
        await session.execute(
            update(AppliedPositionRow)
            .where(key.in_(chosen))
            .values(erase_after=now)
            .execution_options(**_UNSYNCHRONISED)
        )
