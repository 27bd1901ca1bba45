"""Reading and listing memories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import MemoriesRead, ReadMemories
from services.persistence.opening import DrawnFact, memory_item, open_fact, open_many
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, facts, memories
from services.persistence.repositories.memories import SealedMemory
from services.persistence.sealing import KeyRing, UserKeys


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
