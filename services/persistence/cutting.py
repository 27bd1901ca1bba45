"""The cut of a backup: everything that was acknowledged is applied, one snapshot of the database, and the keys of
exactly the rows in it, read while none is destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from libs.shared.contracts.backups import Backup, BackupState, Cut, CutChunk, TakeCut
from libs.shared.contracts.common import Position
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import Overloaded
from libs.shared.telemetry import get_logger
from services.persistence.parts import Parts
from services.persistence.repositories import backups
from services.persistence.slot_file import RECORD_BYTES

log = get_logger(__name__)

_RECORDS_AT_ONCE = 3000
_ALIVE_EVERY_S = 5.0


async def take_cut(request: TakeCut, parts: Parts) -> AsyncIterator[CutChunk]:
    """The cut, its keys, then a word now and then until the caller leaves: so long the snapshot lasts.

    Raises Overloaded, NotYetApplied, Unavailable.
    """
    if parts.cutting.locked():
        raise Overloaded("another backup is being made", retry_after_s=10)
    async with parts.cutting:
        at = parts.clock()
        end = await parts.bus.last_position(TURN_COMPLETED)
        await parts.watermark.wait_until_applied(end, request.wait_s)
        async with (
            parts.database.plainly() as driver,
            driver.transaction(isolation="repeatable_read", readonly=True),
        ):
            cut, keys = await _look(driver, request, end, at, parts)
            yield CutChunk(cut=cut)
            step = _RECORDS_AT_ONCE * RECORD_BYTES
            for start in range(0, len(keys), step):
                yield CutChunk(keys=keys[start : start + step])
            del keys
            yield CutChunk(complete=True)
            while True:
                await asyncio.sleep(_ALIVE_EVERY_S)
                await backups.stay_alive(driver)
                yield CutChunk()


async def _look(driver: Any, request: TakeCut, end: Position, at: datetime, parts: Parts) -> tuple[Cut, bytes]:
    """With no forgetting under way, so that what it removes is wholly in the backup or not at all, its keys included.

    The list knows of the backup before anything can be forgotten again: from then on receipts name it.
    """
    async with parts.forgetting, parts.keys.slots.undisturbed():
        snapshot = await backups.export_snapshot(driver)
        needed = await backups.slots(driver)
        keys = await asyncio.to_thread(parts.keys.slots.records, needed)
        backup = Backup(
            backup_id=request.backup_id,
            place=request.place,
            cut=end,
            cut_at=at,
            taken_at=parts.clock(),
            last_ordinal=await backups.last_ordinal(driver),
            scheduled=request.scheduled,
            state=BackupState.MAKING,
        )
        await asyncio.to_thread(parts.backups.add, backup)
    cut = Cut(
        position=end,
        at=at,
        snapshot=snapshot,
        schema_revision=await backups.schema_revision(driver),
        counts=await backups.counts(driver),
        keys=len(keys) // RECORD_BYTES,
    )
    log.info("cut_taken", keys=cut.keys, keys_lost=len(needed) - cut.keys)
    return cut, keys
