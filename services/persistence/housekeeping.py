"""What is done every minute, in bounded portions: erase applied turns, take back unused keys, repeat jobs, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.persistence import forgetting, takeover
from services.persistence.parts import Parts
from services.persistence.repositories import sessions, work
from services.persistence.repositories.turns import INDEX_KIND
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
        # looked at once more: meanwhile a row's slot may have been destroyed, and given to a turn that is under way
        overdue &= parts.unused_keys.overdue(monotonic(), grace_s)
        unneeded = overdue - needed
        destroyed = await parts.keys.slots.destroy(unneeded)
        for slot in overdue:
            parts.unused_keys.used(slot)
        parts.keys.slots.release(unneeded)
    return destroyed


async def repeat_index_jobs(parts: Parts, rest_s: float) -> int:
    """Offers index jobs again that failed or that nobody reported on, until they are done; how many.

    While nothing is known to embed, one at a time finds out; once it does, many follow.
    """
    if parts.outbox.trouble is not None:
        return 0
    now, rest = parts.clock(), timedelta(seconds=rest_s)
    last = parts.indexing.last_vectors_at
    most = _AT_ONCE if last is not None and now - last < rest else 1
    async with parts.database.writing() as driver:
        repeated = await work.repeat_jobs(driver, INDEX_KIND, now, rest, most)
    if repeated:
        parts.outbox.wake()
    return repeated


async def prune(parts: Parts, job_retention_s: float) -> None:
    """Removes what has served: old jobs, expired sessions, the oldest of a long quarantine."""
    now = parts.clock()
    async with parts.database.transaction() as session:
        before = now - timedelta(seconds=job_retention_s)
        await work.remove_finished_jobs(session, before, _AT_ONCE * _PORTIONS, repeated=INDEX_KIND)
        await sessions.remove_expired(session, now, _AT_ONCE)
        await work.trim_quarantine(session, _MOST_QUARANTINED)


async def run(parts: Parts, settings: PersistenceSettings) -> None:
    """Until it is cancelled."""
    while True:
        await _attempt("repeat_index_jobs", lambda: repeat_index_jobs(parts, settings.index_job_rest_s))
        await asyncio.sleep(settings.housekeeping_interval_s)
        await _attempt("take_over", lambda: takeover.run_round(parts))
        await _attempt("finish_promised", lambda: forgetting.finish_promised(parts))
        await _attempt("erase_applied", lambda: erase_applied(parts))
        await _attempt("take_back_unused", lambda: take_back_unused(parts, settings.unused_key_grace_s))
        await _attempt("prune", lambda: prune(parts, settings.finished_job_retention_s))
        await _attempt("sweep_artefacts", parts.artefacts.sweep)


async def _attempt(name: str, work_: Callable[[], Awaitable[object]]) -> None:
    try:
        await work_()
    except ServiceError as error:
        log.warning("housekeeping_postponed", work=name, reason=error.code)
