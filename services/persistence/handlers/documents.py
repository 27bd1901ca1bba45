"""Keeping, listing and reading documents; their passages are memories, each sealed under a key of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.documents import Document, DocumentRef, Documents, ListDocuments
from libs.shared.contracts.keeping import KeepDocument, KeptMemories
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from libs.shared.errors import DocumentNotFound, InvalidRequest, ServiceError
from libs.shared.sealing import seal
from libs.shared.telemetry import get_logger
from services.persistence import forgetting
from services.persistence.announcing import announce_memory_changed
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.derived_ids import document_hash
from services.persistence.imported import Added, in_utc
from services.persistence.index_jobs import index_requests
from services.persistence.opening import open_title
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, documents, keeping
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories.documents import SealedDocument
from services.persistence.repositories.keeping import NewHeading, NewMemory
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.undisturbed import fresh_keys, settle, undisturbed

log = get_logger(__name__)

_LATEST = (datetime.max.replace(tzinfo=UTC), "")
_DESCRIBED = ("media_type", "size", "digest", "pages")


@dataclass(frozen=True)
class Written:
    """What a transaction wrote of a document."""

    document_id: str
    memories: Sequence[NewMemory] = ()
    title_slot: int | None = None
    replaces: bool = False

    @property
    def slots(self) -> set[int]:
        """What its rows need."""
        titled = () if self.title_slot is None else (self.title_slot,)
        return {*titled, *(memory.slot for memory in self.memories)}


async def keep_document(request: KeepDocument, parts: Parts) -> KeptMemories:
    """A document's passages, all or none. Word for word the same, it changes nothing; else it replaces the one of its
    name, which is forgotten."""
    if any(not passage.text.strip() for passage in request.passages):
        raise InvalidRequest("a passage has no words", errors=["passages"])
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    embedder = (await parts.indexes.profile(request.user_id)).embedder
    async with undisturbed(parts, request.user_id) as driver:
        written = await _keep(driver, request, user, parts)
        ids = [memory.message_id for memory in written.memories]
        requests = index_requests(request.user_id, ids, written.document_id, parts.new_id)
        job_ids = await keeping.ask_to_index(driver, requests, parts.clock(), written.document_id)
    settle(parts, written.slots)
    if written.replaces:
        await _forget_replaced(parts)
    if written.memories:
        await announce_memory_changed(parts.bus, request.user_id)
    return KeptMemories(
        items=tuple(_item(request, place, memory) for place, memory in enumerate(written.memories)),
        present=len(request.passages) - len(written.memories),
        job_ids=job_ids,
        conversation_id=written.document_id,
        embedder=embedder,
    )


async def _keep(driver: Any, request: KeepDocument, user: UserKeys, parts: Parts) -> Written:
    name_hash = document_hash(user, request.name)
    known = await documents.named(driver, request.user_id, name_hash)
    if known is not None:
        if _about(parts.keys, user, known).get("digest") == request.digest:
            return Written(known.document_id)
        # promised in the transaction that keeps the new one, and carried out after it
        await documents.unname(driver, request.user_id, known.document_id)
        await forgetting_rows.promise(driver, request.user_id, "document", known.document_id, parts.clock())
    at, document_id = in_utc(request.at), parts.new_id()
    (title_slot, title_key), *keys = await fresh_keys(parts, user, 1 + len(request.passages))
    about = json.dumps({name: getattr(request, name) for name in _DESCRIBED}).encode()
    title = seal(title_key, request.name.encode())
    heading = NewHeading(document_id, "document", title, seal(title_key, about), title_slot, name_hash)
    ids = [parts.new_id() for _ in keys]
    memories = await asyncio.to_thread(_sealed, request, document_id, at, ids, keys)
    await keeping.begin(driver, request.user_id, [heading], at)
    await keeping.keep(driver, request.user_id, memories)
    added = Added(len(ids), at, at, ids[-1], out_of_order=False)
    await keeping.grow(driver, request.user_id, {document_id: added})
    return Written(document_id, memories, title_slot, replaces=known is not None)


def _sealed(
    request: KeepDocument, document_id: str, at: datetime, ids: Sequence[str], keys: Sequence[tuple[int, bytes]]
) -> list[NewMemory]:
    return [
        NewMemory(
            message_id=message_id,
            conversation_id=document_id,
            parent_id=before,
            kind=MemoryKind.PASSAGE,
            speaker=Speaker.USER,
            text=seal(key, passage.text.encode()),
            about=None if passage.page is None else seal(key, json.dumps({"page": passage.page}).encode()),
            source_hash=None,
            slot=slot,
            at=at,
        )
        for passage, message_id, before, (slot, key) in zip(request.passages, ids, (None, *ids[:-1]), keys, strict=True)
    ]


async def _forget_replaced(parts: Parts) -> None:
    try:
        await forgetting.finish_promised(parts)
    except ServiceError as error:  # housekeeping repeats it; the new document is kept already
        log.warning("replaced_document_lingers", reason=error.code)


def _item(request: KeepDocument, place: int, memory: NewMemory) -> MemoryItem:
    passage = request.passages[place]
    return MemoryItem(
        id=memory.message_id,
        kind=MemoryKind.PASSAGE,
        text=passage.text,
        source_id=memory.message_id,
        conversation_id=memory.conversation_id,
        speaker=memory.speaker,
        at=memory.at,
        title=request.name,
        page=passage.page,
    )


# ---------------------------------------------------------------- reading


async def list_documents(request: ListDocuments, parts: Parts) -> Documents:
    """A page of the user's documents, newest first."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else _LATEST
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        rows = await documents.listed(driver, request.user_id, (before[0], before[1]), request.limit)
    shown = rows[: request.limit]
    opened = (_document(parts.keys, user, row) for row in shown)
    cursor = encode_cursor(shown[-1].updated_at, shown[-1].document_id) if len(rows) > len(shown) else None
    return Documents(documents=tuple(found for found in opened if found is not None), next_cursor=cursor)


async def read_document(request: DocumentRef, parts: Parts) -> Document:
    """One of the user's documents. Raises DocumentNotFound, for another user's too."""
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        row = await documents.one(driver, request.user_id, request.document_id)
    found = None if row is None else _document(parts.keys, user, row)
    if found is None:
        raise DocumentNotFound("there is no such document")
    return found


def _document(keys: KeyRing, user: UserKeys, row: SealedDocument) -> Document | None:
    name, about = open_title(keys, user, row.title, row.slot), _about(keys, user, row)
    if name is None or not about:
        return None
    return Document(
        document_id=row.document_id,
        name=name,
        media_type=about["media_type"],
        size=about["size"],
        pages=about["pages"],
        passages=row.passages,
        added_at=row.added_at,
    )


def _about(keys: KeyRing, user: UserKeys, row: SealedDocument) -> dict[str, Any]:
    """What is told of a document; nothing where its key is gone."""
    told = open_title(keys, user, row.about, row.slot)
    return {} if told is None else dict(json.loads(told))
