"""What is done every minute, in bounded portions: erase applied turns from the stream, take back unused keys, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.persistence import forgetting
from services.persistence.parts import Parts
from services.persistence.repositories import sessions, work
from services.persistence.settings import PersistenceSettings

log = get_logger(__name__)

_AT_ONCE = 200
_PORTIONS = 50
"""Most portions of one kind in one round."""
_MOST_QUARANTINED = 10_000


async def erase_applied(parts: Parts) -> int:
    """Erases messages that were dealt with and are due from the stream; how many."""
    erased = 0
    for _ in range(_PORTIONS):
        async with parts.database.transaction() as session:
            due = await work.positions_due(session, parts.clock(), _AT_ONCE)
        if not due:
            break
        await parts.bus.delete_messages(TURN_COMPLETED, due)
        async with parts.database.transaction() as session:
            await work.remove_positions(session, due)
        erased += len(due)
    return erased


async def take_back_unused(parts: Parts, grace_s: float) -> int:
    """Destroys data keys whose turn never came; how many.

    Only while nothing lies unapplied in the stream: a turn there needs its key.
    """
    overdue = parts.unused_keys.overdue(monotonic(), grace_s)
    if not overdue or not parts.watermark.caught_up:
        return 0
    async with parts.applier.lock:
        async with parts.database.transaction() as session:
            needed = await work.slots_needed(session, overdue)
        unneeded = overdue - needed
        destroyed = await parts.keys.slots.destroy(unneeded)
        parts.keys.slots.release(unneeded)
    for slot in overdue:
        parts.unused_keys.used(slot)
    return destroyed


async def prune(parts: Parts, job_retention_s: float) -> None:
    """Removes what has served: old jobs, expired sessions, the oldest of a long quarantine."""
    now = parts.clock()
    async with parts.database.transaction() as session:
        await work.remove_finished_jobs(session, now - timedelta(seconds=job_retention_s), _AT_ONCE * _PORTIONS)
        await sessions.remove_expired(session, now, _AT_ONCE)
        await work.trim_quarantine(session, _MOST_QUARANTINED)


async def run(parts: Parts, settings: PersistenceSettings) -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(settings.housekeeping_interval_s)
        await _attempt("finish_promised", lambda: forgetting.finish_promised(parts))
        await _attempt("erase_applied", lambda: erase_applied(parts))
        await _attempt("take_back_unused", lambda: take_back_unused(parts, settings.unused_key_grace_s))
        await _attempt("prune", lambda: prune(parts, settings.finished_job_retention_s))


async def _attempt(name: str, work_: Callable[[], Awaitable[object]]) -> None:
    try:
        await work_()
    except ServiceError as error:
        log.warning("housekeeping_postponed", work=name, reason=error.code)
