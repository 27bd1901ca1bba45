"""Taking back what was derived from memories that stay: index entries, and facts that nothing else tells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from services.persistence.announcing import announce_standing
from services.persistence.parts import Parts
from services.persistence.postgres import Statement
from services.persistence.repositories import segments, trained
from services.persistence.repositories.removal import Doomed
from services.persistence.repositories.trained import Cause
from services.persistence.retiring import destroy_retired, retire
from services.persistence.taking import Taken, take_derived

_UNLINK = Statement("""
DELETE FROM fact_sources AS s USING messages AS m
WHERE s.message_id = m.message_id AND m.user_id = :user_id AND m.message_id = ANY(CAST(:ids AS varchar[]))
""")


@dataclass(frozen=True)
class TakenBack:
    """What a transaction took back of a user's memory; ``finish`` completes it after the commit."""

    user_id: str
    ordinals: Sequence[int]
    note: int | None
    """Of the keys to destroy."""
    adapters: Collection[str] = ()
    """Those that are tainted by it."""

    async def finish(self, parts: Parts) -> None:
        """Destroys the keys, lets what is held in memory follow, and tells which adapters are tainted."""
        await announce_standing(parts.bus, self.adapters)
        if self.ordinals:
            parts.indexes.forgotten(self.user_id, self.ordinals)
            parts.fact_keys.drop(self.user_id)
            await parts.indexes.superseded(self.user_id)
        if self.note is not None:
            await destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, self.note)


async def take_back(
    driver: Any, user_id: str, memories: Sequence[Doomed], parts: Parts, slots: Collection[int] = (), *, cause: Cause
) -> TakenBack:
    """Of these memories, in the caller's transaction, everything that was derived; ``slots`` are further ones that no
    row needs after it, and ``cause`` is why what was trained on them is tainted."""
    taken = Taken(slots=set(slots), cause=cause)
    if memories:
        await trained.hold_owners(driver, [user_id])
        await take_derived(driver, user_id, memories, taken, parts)
        await _UNLINK.fetch(driver, user_id=user_id, ids=[memory.message_id for memory in memories])
    note = await retire(driver, user_id, taken.slots) if taken.slots else None
    return TakenBack(user_id, taken.ordinals, note, taken.adapters)


async def hold_index(driver: Any, user_id: str) -> None:
    """Locks the user's index before any row of a memory, in the order in which others take them."""
    await segments.lock(driver, user_id)
