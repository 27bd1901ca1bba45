"""Listing, reading, renaming and deleting conversations."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.conversations import (
    Conversation,
    ConversationRead,
    ConversationRef,
    Conversations,
    Forgotten,
    ListConversations,
    ReadConversation,
    RenameConversation,
)
from libs.shared.errors import ConversationNotFound
from libs.shared.sealing import Unreadable, seal
from services.persistence import forgetting
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.handlers.turns import readable
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, conversations
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.tables import ConversationRow


def _title(keys: KeyRing, user: UserKeys, row: ConversationRow) -> str | None:
    if row.title is None or row.title_slot is None:
        return None
    try:
        return keys.open_text(user, row.title_slot, row.title)
    except (KeyGone, Unreadable):
        return None


def _heading(keys: KeyRing, user: UserKeys, row: ConversationRow) -> Conversation:
    return Conversation(
        conversation_id=row.conversation_id,
        title=_title(keys, user, row),
        messages=row.message_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def list_conversations(request: ListConversations, parts: Parts) -> Conversations:
    """A page of the user's conversations."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.transaction() as session:
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        rows = await conversations.newest(session, request.user_id, request.limit, before)
    shown = rows[: request.limit]
    cursor = encode_cursor(shown[-1].updated_at, shown[-1].conversation_id) if len(rows) > len(shown) else None
    return Conversations(conversations=tuple(_heading(parts.keys, user, row) for row in shown), next_cursor=cursor)


async def read_conversation(request: ReadConversation, parts: Parts) -> ConversationRead:
    """A page of a conversation's messages, every branch."""
    after = decode_cursor(request.cursor, int)[0] if request.cursor else 0
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.transaction() as session:
        row = await conversations.find(session, request.user_id, request.conversation_id)
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        found = await conversations.messages(session, request.user_id, request.conversation_id, request.limit, after)
    shown = found[: request.limit]
    return ConversationRead(
        conversation=_heading(parts.keys, user, row),
        messages=await readable(parts.keys, user, shown),
        next_cursor=encode_cursor(shown[-1].ordinal) if len(found) > len(shown) else None,
    )


async def rename_conversation(request: RenameConversation, parts: Parts) -> Conversation:
    """The title under a key of its own; the key of the title before is destroyed."""
    async with parts.database.transaction() as session:
        await conversations.find(session, request.user_id, request.conversation_id)
        user = await accounts.user_keys(session, parts.keys, request.user_id)
    slot, key = await parts.keys.new_data_key(user)
    try:
        async with parts.database.transaction() as session:
            row, old_slot = await conversations.set_title(
                session, request.user_id, request.conversation_id, seal(key, request.title.encode()), slot
            )
    except ConversationNotFound:
        await _discard(parts.keys, slot)
        raise
    if old_slot is not None:
        await _discard(parts.keys, old_slot)
    return _heading(parts.keys, user, row)


async def _discard(keys: KeyRing, slot: int) -> None:
    await keys.slots.destroy((slot,))
    keys.slots.release((slot,))


async def delete_conversation(request: ConversationRef, parts: Parts) -> Forgotten:
    """Forgets the conversation and everything derived from it."""
    await parts.watermark.wait_for(request.read_after)
    return await forgetting.forget_conversation(request.user_id, request.conversation_id, parts)
