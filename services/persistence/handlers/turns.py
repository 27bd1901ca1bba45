"""Opening turns and reading the turns before."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from libs.shared.contracts.turns import OpenTurn, ReadTurns, TurnKey, TurnMessage, TurnMessages
from libs.shared.errors import ConversationNotFound
from services.persistence.opening import Opened, open_many, open_message
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, conversations
from services.persistence.repositories.conversations import Said
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.tables import MessageRow


async def open_turn(request: OpenTurn, parts: Parts) -> TurnKey:
    """A data key on disk. In a known conversation of a known user it asks the database nothing."""
    user = parts.keys.cached(request.user_id)
    if user is None or not _is_known_owner(request, parts):
        user = await _admit(request, parts)
    slot, key = await parts.keys.new_data_key(user)
    parts.unused_keys.handed_out(slot, monotonic())
    return TurnKey(slot=slot, key=key)


def _is_known_owner(request: OpenTurn, parts: Parts) -> bool:
    return request.conversation_id is None or parts.owners.get(request.conversation_id) == request.user_id


async def _admit(request: OpenTurn, parts: Parts) -> UserKeys:
    if request.conversation_id is not None and not await _owns(request, request.conversation_id, parts):
        # The conversation's first turn may still be on its way.
        await parts.watermark.wait_for(request.read_after)
        if not await _owns(request, request.conversation_id, parts):
            raise ConversationNotFound("there is no such conversation")
    async with parts.database.transaction() as session:
        return await accounts.user_keys(session, parts.keys, request.user_id)


async def _owns(request: OpenTurn, conversation_id: str, parts: Parts) -> bool:
    async with parts.database.transaction() as session:
        owner = await conversations.owner_of(session, conversation_id)
    if owner == request.user_id:
        parts.owners.put(conversation_id, owner)
    return owner == request.user_id


async def read_turns(request: ReadTurns, parts: Parts) -> TurnMessages:
    """The path to a message, readable, oldest first."""
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        rows = await conversations.path_to(
            driver, request.user_id, request.conversation_id, request.parent_id, request.max_messages
        )
    return TurnMessages(messages=await readable(parts.keys, user, rows))


async def readable(keys: KeyRing, user: UserKeys, rows: Sequence[MessageRow | Said]) -> tuple[TurnMessage, ...]:
    """The messages with their texts and speakers; those whose key is gone are left out."""
    opened = await open_many(rows, lambda row: open_message(keys, user, row))
    return tuple(_as_message(row, said) for row, said in zip(rows, opened, strict=True) if said is not None)


def _as_message(row: MessageRow | Said, opened: Opened) -> TurnMessage:
    return TurnMessage(
        message_id=row.message_id,
        parent_id=row.parent_id,
        speaker=opened.speaker,
        text=opened.text,
        at=row.at,
        source_id=opened.about.get("source_id"),
        page=opened.about.get("page"),
        partial=row.partial,
        turn_id=row.turn_id if isinstance(row, MessageRow) else None,
    )
