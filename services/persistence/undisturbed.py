"""Changing a memory with no forgetting beside it: keys for new rows, and a transaction in which nothing is on its way
out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from libs.shared.errors import ServiceError, Unavailable
from libs.shared.telemetry import get_logger
from services.persistence import forgetting
from services.persistence.parts import Parts
from services.persistence.repositories import keeping
from services.persistence.sealing import UserKeys

log = get_logger(__name__)

_BEING_FORGOTTEN = "something of this memory is still being forgotten"


async def fresh_keys(parts: Parts, user: UserKeys, count: int) -> list[tuple[int, bytes]]:
    """Data keys with their slots, on disk. Whichever no row needs after all is taken back as an unused one."""
    keys = await parts.keys.new_data_keys(user, count)
    for slot, _ in keys:
        parts.unused_keys.handed_out(slot, monotonic())
    return keys


def settle(parts: Parts, slots: Iterable[int]) -> None:
    """Rows need these now: told after the commit."""
    for slot in slots:
        parts.unused_keys.used(slot)


async def _finish_promised(parts: Parts) -> None:
    try:
        await forgetting.finish_promised(parts)
    except ServiceError as error:  # perhaps another user's; whether ours is left is looked at again
        log.warning("forgetting_postponed", reason=error.code)


@asynccontextmanager
async def undisturbed(parts: Parts, user_id: str) -> AsyncIterator[Any]:
    """An asyncpg connection in one transaction, as ``Database.writing``, that no forgetting runs beside.

    What was promised to be forgotten before is gone first. Raises Unavailable when that can't be finished.
    """
    async with parts.database.plainly() as driver:
        promised = await keeping.is_promised(driver, user_id)
    if promised:
        await _finish_promised(parts)
    try:
        async with parts.forgetting, parts.database.writing() as driver:
            if await keeping.is_promised(driver, user_id):
                raise Unavailable(_BEING_FORGOTTEN, retry_after_s=1)
            yield driver
    finally:  # also when who asked went away in the middle of the commit
        parts.outbox.unindexed.committed()
