"""Forgetting a conversation or an account: promised first, then carried out, and finished at start if it was cut short.

The promise and a tombstone are one transaction. A second one removes every row; the data keys are overwritten on
disk before it commits, so that there is no moment at which rows are gone and keys are left.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.accounts import UserRef
from libs.shared.contracts.common import Position
from libs.shared.contracts.conversations import Forgotten
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, conversations, forgetting, work
from services.persistence.repositories.forgetting import Removed

log = get_logger(__name__)

_POSITIONS_AT_ONCE = 200


async def forget_conversation(user_id: str, conversation_id: str, parts: Parts) -> Forgotten:
    """Raises ConversationNotFound."""
    async with parts.applier.lock, parts.database.transaction() as session:
        await conversations.find(session, user_id, conversation_id)
        promise = await forgetting.promise(session, user_id, conversation_id, parts.clock())
    return await _carry_out(promise, user_id, conversation_id, parts)


async def forget_user(ref: UserRef, parts: Parts) -> str:
    """The forgotten account's id. Raises UserNotFound, LastAdmin."""
    async with parts.applier.lock, parts.database.transaction() as session:
        user = await accounts.read_user(session, ref)
        await accounts.keep_an_admin(session, user)
        promise = await forgetting.promise(session, user.user_id, None, parts.clock())
    await _carry_out(promise, user.user_id, None, parts)
    return user.user_id


async def finish_promised(parts: Parts) -> int:
    """Carries out what was promised and cut short; how many."""
    async with parts.database.transaction() as session:
        rows = await forgetting.promised(session)
    for row in rows:
        await _carry_out(row.id, row.user_id, row.conversation_id, parts)
    return len(rows)


async def _carry_out(promise: int, user_id: str, conversation_id: str | None, parts: Parts) -> Forgotten:
    async with parts.forgetting:
        async with parts.database.transaction() as session:
            removed = await _remove(session, user_id, conversation_id, parts)
            keys = await parts.keys.slots.destroy(removed.slots)
            await forgetting.keep_promise(session, promise)
        parts.keys.slots.release(removed.slots)
    if conversation_id is None:
        parts.keys.drop_user(user_id)
        parts.owners.drop_user(user_id)
    else:
        parts.owners.drop(conversation_id)
    await _erase(removed.positions, parts)
    log.info("forgotten", messages=removed.messages, data_keys=keys)
    return Forgotten(messages=removed.messages, data_keys=keys)


async def _remove(session: AsyncSession, user_id: str, conversation_id: str | None, parts: Parts) -> Removed:
    if conversation_id is None:
        return await forgetting.remove_user(session, user_id, parts.clock())
    return await forgetting.remove_conversation(session, user_id, conversation_id, parts.clock())


async def _erase(positions: tuple[Position, ...], parts: Parts) -> None:
    """Best effort: what the stream does not let go of now, housekeeping erases; its key is gone already."""
    for start in range(0, len(positions), _POSITIONS_AT_ONCE):
        chosen = positions[start : start + _POSITIONS_AT_ONCE]
        try:
            await parts.bus.delete_messages(TURN_COMPLETED, chosen)
            async with parts.database.transaction() as session:
                await work.remove_positions(session, chosen)
        except ServiceError as error:
            log.warning("stream_erasure_postponed", reason=error.code)
            return
