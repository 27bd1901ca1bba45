"""Destroying keys that rows needed until something was sealed anew, without a moment at which a crash costs a row its
key or leaves a key behind.

The transaction that seals anew notes the old slots (``retire``); after its commit they are overwritten on disk and
the note goes (``destroy_retired``). What a crash leaves between the two is destroyed at start, before anything else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.persistence.postgres import Database, Statement
from services.persistence.slot_file import SlotFile
from services.persistence.unused_keys import UnusedKeys

KEYS = "keys"
"""The scope of such a note among the forgettings; it has no receipt."""

_RETIRE = Statement("""
INSERT INTO forgettings (user_id, scope, subject_id, slots) VALUES (:user_id, :scope, :user_id, :slots) RETURNING id
""")
_TAKE = Statement("DELETE FROM forgettings WHERE id = :id AND scope = :scope RETURNING slots")


async def retire(driver: Any, user_id: str, slots: Collection[int]) -> int:
    """Notes, in the caller's transaction, slots that no row needs after it; what ``destroy_retired`` takes."""
    ((note,),) = await _RETIRE.fetch(driver, user_id=user_id, scope=KEYS, slots=sorted(slots))
    return int(note)


async def destroy_retired(database: Database, slot_file: SlotFile, unused: UnusedKeys, note: int) -> int:
    """Overwrites the noted slots after the commit; how many held a key. If it fails, housekeeping repeats it.

    The note's row is locked meanwhile, so that who comes second finds it gone, and destroys nothing that was given out
    again.
    """
    async with database.writing() as driver:
        slots = {slot for row in await _TAKE.fetch(driver, id=note, scope=KEYS) for slot in row[0]}
        destroyed = await slot_file.destroy(slots)
    release_destroyed(slot_file, unused, slots)
    return destroyed


def release_destroyed(slot_file: SlotFile, unused: UnusedKeys, slots: Collection[int]) -> None:
    """Lets destroyed slots be given out again, to wait as unused from then on: by an earlier time, the key that whoever
    comes next has in one would be taken back before it is needed."""
    for slot in slots:
        unused.used(slot)
    slot_file.release(slots)
