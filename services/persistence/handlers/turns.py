"""Opening turns and reading the turns before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.turns import OpenTurn, ReadTurns, TurnKey, TurnMessage, TurnMessages
from libs.shared.errors import ConversationNotFound
from libs.shared.sealing import Unreadable
from libs.shared.telemetry import get_logger
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, conversations
from services.persistence.repositories.conversations import Said
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.tables import MessageRow

log = get_logger(__name__)

_MANY = 128
"""From so many texts on, opening them is worth a thread."""


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
    """The messages with their texts; those whose key is gone are left out."""
    texts = await open_texts(keys, user, rows)
    return tuple(_as_message(row, text) for row, text in zip(rows, texts, strict=True) if text is not None)


class SealedMessage(Protocol):
    """A message whose text is still sealed."""

    @property
    def message_id(self) -> str: ...
    @property
    def slot(self) -> int: ...
    @property
    def text(self) -> bytes: ...


async def open_texts(keys: KeyRing, user: UserKeys, rows: Sequence[SealedMessage]) -> list[str | None]:
    """The texts of the messages; None where the key is gone."""
    if len(rows) >= _MANY:
        return await asyncio.to_thread(_open_texts, keys, user, rows)
    return _open_texts(keys, user, rows)


def _open_texts(keys: KeyRing, user: UserKeys, rows: Sequence[SealedMessage]) -> list[str | None]:
    return [_open_text(keys, user, row) for row in rows]


def _open_text(keys: KeyRing, user: UserKeys, row: SealedMessage) -> str | None:
    try:
        return keys.open_text(user, row.slot, row.text)
    except (KeyGone, Unreadable):
        # Forgotten while we read, or its key was lost: either way there is nothing to show.
        log.warning("message_unreadable", message_id=row.message_id)
        return None


def _as_message(row: MessageRow | Said, text: str) -> TurnMessage:
    return TurnMessage(
        message_id=row.message_id,
        parent_id=row.parent_id,
        speaker=Speaker(row.speaker),
        text=text,
        at=row.at,
        partial=row.partial,
    )
