"""Taking back what was derived from memories that stay: index entries, and facts that nothing else tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.persistence.parts import Parts
from services.persistence.postgres import Statement
from services.persistence.repositories import removal
from services.persistence.retiring import destroy_retired, retire
from services.persistence.supersession import ends_without

_UNLINK = Statement("""
DELETE FROM fact_sources AS s USING messages AS m
WHERE s.message_id = m.message_id AND m.user_id = :user_id AND m.message_id = ANY(CAST(:ids AS varchar[]))
""")


@dataclass(frozen=True)
class TakenBack:
    """What a transaction took back of a user's memory; ``finish`` completes it after the commit."""

    user_id: str
    ordinals: frozenset[int]
    note: int | None
    """Of the keys to destroy."""

    async def finish(self, parts: Parts) -> None:
        """Destroys the keys, and lets what is held in memory follow."""
        if self.note is not None:
            await destroy_retired(parts.database, parts.keys.slots, self.note)
        if self.ordinals:
            parts.indexes.forgotten(self.user_id, self.ordinals)
            parts.fact_keys.drop(self.user_id)


async def take_back(
    driver: Any, user_id: str, memories: Mapping[str, int], parts: Parts, slots: Collection[int] = ()
) -> TakenBack:
    """Of these memories (id → ordinal), in the caller's transaction, everything that was derived; ``slots`` are
    further ones that no row needs after it."""
    ids, ordinals, old = list(memories), frozenset(memories.values()), set(slots)
    if memories:
        old |= await _remove_derived(driver, user_id, ids, ordinals, parts)
    return TakenBack(user_id, ordinals, await retire(driver, user_id, old) if old else None)


async def _remove_derived(
    driver: Any, user_id: str, ids: Sequence[str], ordinals: frozenset[int], parts: Parts
) -> frozenset[int]:
    facts = await removal.facts_without_source(driver, user_id, ids)
    ends = ends_without(await removal.ends_around(driver, user_id, facts), facts) if facts else ()
    slots = await removal.remove_facts(driver, user_id, facts)
    await removal.change_ends(driver, user_id, ends)
    await _UNLINK.fetch(driver, user_id=user_id, ids=ids)
    rewritten = await parts.indexes.take_out(driver, user_id, ordinals)
    return slots | rewritten.old_slots
