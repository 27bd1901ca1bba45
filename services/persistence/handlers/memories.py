"""Reading and listing memories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from libs.shared.contracts.memory import ListMemories, Memories, MemoryItem, MemoryKind, MemoryRef
from libs.shared.contracts.recall import MemoriesRead, ReadMemories
from libs.shared.errors import MemoryNotFound
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.opening import DrawnFact, fact_item, memory_item, open_fact, open_many, open_message
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, facts, memories
from services.persistence.repositories.facts import SealedFact
from services.persistence.repositories.memories import Listing, SealedMemory
from services.persistence.sealing import KeyRing, UserKeys

_CONVERSATIONS_OF = {MemoryKind.NOTE: "notes", MemoryKind.PASSAGE: "document"}


async def drawn_from(
    driver: Any, keys: KeyRing, user_id: str, user: UserKeys, rows: Sequence[SealedMemory]
) -> dict[str, list[DrawnFact]]:
    """Memory → the facts that were drawn from it; asks nothing where there are none."""
    drawn: dict[str, list[DrawnFact]] = {row.message_id: [] for row in rows if row.has_facts}
    if not drawn:
        return {}
    found = await facts.of_memories(driver, user_id, list(drawn))
    opened = await open_many(found, lambda row: open_fact(keys, user, row))
    for row, fact in zip(found, opened, strict=True):
        if fact is not None:
            for source in drawn.keys() & set(fact.sources):
                drawn[source].append(DrawnFact(fact, row.newer_source))
    return drawn


async def readable_items(
    driver: Any, keys: KeyRing, user_id: str, user: UserKeys, rows: Sequence[SealedMemory]
) -> list[MemoryItem | None]:
    """The memories with the facts drawn from them, one place a row; None where the key is gone."""
    drawn = await drawn_from(driver, keys, user_id, user, rows)
    return await open_many(rows, lambda row: memory_item(keys, user, row, drawn.get(row.message_id, ())))


async def read_memories(request: ReadMemories, parts: Parts) -> MemoriesRead:
    """The texts of chosen candidates, in the order asked."""
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        rows = await memories.by_ordinal(driver, request.user_id, request.ordinals)
        items = await readable_items(driver, parts.keys, request.user_id, user, rows)
    read = [(row.ordinal, item) for row, item in zip(rows, items, strict=True) if item is not None]
    return MemoriesRead(ordinals=tuple(o for o, _ in read), items=tuple(item for _, item in read))


async def readable_facts(
    driver: Any, keys: KeyRing, user_id: str, user: UserKeys, rows: Sequence[SealedFact]
) -> list[MemoryItem]:
    """The facts as memories; those whose key is gone are left out."""
    opened = await open_many(rows, lambda row: open_fact(keys, user, row))
    told = [fact for fact in opened if fact is not None and fact.sources]
    newest = await memories.by_id(driver, user_id, {fact.sources[-1] for fact in told})
    said = await open_many(newest, lambda row: open_message(keys, user, row))
    speakers = {row.message_id: one.speaker for row, one in zip(newest, said, strict=True) if one is not None}
    within = {row.message_id: row.conversation_id for row in newest}
    return [
        fact_item(fact, within[source], speakers[source]) for fact in told if (source := fact.sources[-1]) in speakers
    ]


async def list_memories(request: ListMemories, parts: Parts) -> Memories:
    """A page, newest first."""
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        if request.kind is MemoryKind.FACT:
            return await _list_facts(driver, request, user, parts)
        return await _list_said(driver, request, user, parts)


async def _list_said(driver: Any, request: ListMemories, user: UserKeys, parts: Parts) -> Memories:
    before = decode_cursor(request.cursor, datetime, int) if request.cursor else None
    within = _CONVERSATIONS_OF.get(request.kind) if request.kind else None
    kind = request.kind.value if request.kind else None
    listing = Listing(kind, request.pinned, within, (before[0], before[1]) if before else None, request.limit)
    rows = await memories.listed(driver, request.user_id, listing)
    shown = rows[: request.limit]
    items = await readable_items(driver, parts.keys, request.user_id, user, shown)
    cursor = encode_cursor(shown[-1].at, shown[-1].ordinal) if len(rows) > len(shown) else None
    return Memories(items=tuple(item for item in items if item is not None), next_cursor=cursor)


async def _list_facts(driver: Any, request: ListMemories, user: UserKeys, parts: Parts) -> Memories:
    if request.pinned:
        return Memories(items=())
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    after = (before[0], before[1]) if before else None
    rows = await facts.listed(driver, request.user_id, request.current, after, request.limit)
    shown = rows[: request.limit]
    items = await readable_facts(driver, parts.keys, request.user_id, user, shown)
    cursor = encode_cursor(shown[-1].valid_from, shown[-1].fact_id) if len(rows) > len(shown) else None
    return Memories(items=tuple(items), next_cursor=cursor)


async def read_memory(request: MemoryRef, parts: Parts) -> MemoryItem:
    """One memory, or one fact. Raises MemoryNotFound, for another user's too."""
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        return await one_item(driver, request.user_id, user, request.id, parts)


async def one_item(driver: Any, user_id: str, user: UserKeys, memory_id: str, parts: Parts) -> MemoryItem:
    """Raises MemoryNotFound."""
    rows = await memories.by_id(driver, user_id, (memory_id,))
    if rows:
        found = (await readable_items(driver, parts.keys, user_id, user, rows))[0]
    else:
        told = await facts.by_id(driver, user_id, (memory_id,))
        found = next(iter(await readable_facts(driver, parts.keys, user_id, user, told)), None)
    if found is None:
        raise MemoryNotFound("there is no such memory")
    return found
