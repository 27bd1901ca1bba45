"""Forgetting, and the receipts of it."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.conversations import ConversationRef
from libs.shared.contracts.documents import DocumentRef
from libs.shared.contracts.forgetting import ListReceipts, Receipt, Receipts
from libs.shared.contracts.memory import MemoryRef, UserMemory
from libs.shared.errors import ConversationNotFound
from services.persistence import forgetting
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.derived_ids import derived_conversation_id
from services.persistence.parts import Parts
from services.persistence.repositories import accounts
from services.persistence.repositories import forgetting as forgetting_rows


async def forget_memory(request: MemoryRef, parts: Parts) -> Receipt:
    """A message, note, passage or fact, with everything derived from it."""
    await parts.watermark.wait_for(request.read_after)
    return await forgetting.forget_memory(request.user_id, request.id, parts)


async def forget_document(request: DocumentRef, parts: Parts) -> Receipt:
    """A document with its passages."""
    return await forgetting.forget_document(request.user_id, request.document_id, parts)


async def forget_everything(request: UserMemory, parts: Parts) -> Receipt:
    """All that is remembered of a user."""
    await parts.watermark.wait_for(request.read_after)
    return await forgetting.forget_everything(request.user_id, parts)


async def delete_conversation(request: ConversationRef, parts: Parts) -> Receipt:
    """A conversation, under our id or its importer's, with everything derived from it."""
    await parts.watermark.wait_for(request.read_after)
    try:
        return await forgetting.forget_conversation(request.user_id, request.conversation_id, parts)
    except ConversationNotFound:
        async with parts.database.plainly() as driver:
            user = await accounts.keys_of(driver, parts.keys, request.user_id)
        imported = derived_conversation_id(user, request.conversation_id)
        return await forgetting.forget_conversation(request.user_id, imported, parts)


async def list_receipts(request: ListReceipts, parts: Parts) -> Receipts:
    """A page of the user's receipts."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    async with parts.database.plainly() as driver:
        found = await forgetting_rows.receipts(driver, request.user_id, request.limit, before)
    shown = found[: request.limit]
    cursor = encode_cursor(shown[-1].at, shown[-1].receipt_id) if len(found) > len(shown) else None
    named = {backup_id: None for receipt in shown for backup_id in receipt.backups}
    return Receipts(receipts=tuple(shown), backups=parts.backups.now(named), next_cursor=cursor)
