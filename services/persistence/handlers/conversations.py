"""Listing, reading and changing conversations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from libs.shared.contracts.conversations import (
    ChangeConversation,
    Conversation,
    ConversationRead,
    Conversations,
    ListConversations,
    ReadConversation,
)
from libs.shared.sealing import seal
from services.persistence.announcing import announce_memory_changed
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.derived_ids import derived_conversation_id
from services.persistence.handlers.turns import readable
from services.persistence.index_jobs import index_requests
from services.persistence.opening import open_title
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, conversations, keeping, removal
from services.persistence.repositories.conversations import Changed
from services.persistence.repositories.removal import Doomed
from services.persistence.repositories.trained import Cause
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.tables import ConversationRow
from services.persistence.underived import TakenBack, hold_index, take_back
from services.persistence.undisturbed import fresh_keys, settle, undisturbed


def _heading(keys: KeyRing, user: UserKeys, row: ConversationRow) -> Conversation:
    return Conversation(
        conversation_id=row.conversation_id,
        title=open_title(keys, user, row.title, row.title_slot),
        messages=row.message_count,
        remembered=row.remembered,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def names_of(user: UserKeys, given: str) -> tuple[str, str]:
    """What a conversation may be kept under that its user calls ``given``: our id, or what its importer's gives."""
    return given, derived_conversation_id(user, given)


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
    """A page of a conversation's messages, every branch; or of a document's passages."""
    after = decode_cursor(request.cursor, datetime, int) if request.cursor else None
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.transaction() as session:
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        names = names_of(user, request.conversation_id)
        row = await conversations.find(session, request.user_id, *names, kinds=conversations.READABLE)
        found = await conversations.messages(session, request.user_id, row, request.limit, after)
    shown = found[: request.limit]
    return ConversationRead(
        conversation=_heading(parts.keys, user, row),
        messages=await readable(parts.keys, user, shown),
        next_cursor=encode_cursor(shown[-1].at, shown[-1].ordinal) if len(found) > len(shown) else None,
    )


async def change_conversation(request: ChangeConversation, parts: Parts) -> Conversation:
    """A new title under a key of its own; what is no longer remembered loses all that was derived from it."""
    async with parts.database.transaction() as session:
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        row = await conversations.find(session, request.user_id, *names_of(user, request.conversation_id))
    title = await _sealed_title(request, user, parts)
    async with undisturbed(parts, request.user_id) as driver:
        await hold_index(driver, request.user_id)
        changed = await conversations.change(driver, request.user_id, row.conversation_id, title, request.remembered)
        taken_back = await _follow(driver, request, changed, parts)
    settle(parts, () if title is None else (title[0],))
    await taken_back.finish(parts)
    parts.outbox.wake()
    await announce_memory_changed(parts.bus, request.user_id)
    async with parts.database.transaction() as session:
        row = await conversations.find(session, request.user_id, row.conversation_id)
    return _heading(parts.keys, user, row)


async def _sealed_title(request: ChangeConversation, user: UserKeys, parts: Parts) -> tuple[int, bytes] | None:
    if request.title is None:
        return None
    ((slot, key),) = await fresh_keys(parts, user, 1)
    return slot, seal(key, request.title.encode())


async def _follow(driver: Any, request: ChangeConversation, changed: Changed, parts: Parts) -> TakenBack:
    """What the change means for what was derived from the conversation, in its transaction."""
    replaced = {changed.old_title_slot} if request.title is not None and changed.old_title_slot is not None else set()
    within: list[Doomed] = []
    if changed.was_remembered != changed.remembered:
        within = await removal.messages_of(driver, request.user_id, changed.conversation_id)
    if changed.remembered:
        ids = [message.message_id for message in within]
        requests = index_requests(request.user_id, ids, changed.conversation_id, parts.new_id)
        await keeping.ask_to_index(driver, requests, parts.clock(), changed.conversation_id, at_once=True)
        within = []
    return await take_back(driver, request.user_id, within, parts, replaced, cause=Cause.WITHDRAWN)
