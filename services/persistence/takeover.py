"""One embedder taking over from another: vectors of the new one are made in the background, a bounded portion at a
time, and searches use the old one's until every memory has one of the new.

Which one is wanted: the setting ``embedder``, else the one that cognition was last heard to use in place of a user's
own.
"""

from __future__ import annotations

from libs.shared.telemetry import get_logger
from services.persistence import retiring
from services.persistence.announcing import announce_memory_changed
from services.persistence.index_jobs import MEMORIES_A_JOB, index_requests
from services.persistence.ledger import settings_from
from services.persistence.parts import Parts
from services.persistence.repositories import ledger, segments

log = get_logger(__name__)

_JOBS_AT_ONCE = 8
_USERS_A_ROUND = 20


async def heard(user_id: str, embedder: str, in_use: str | None, parts: Parts) -> None:
    """Vectors of ``embedder`` came for a user whose memories had those of ``in_use``."""
    if in_use is not None and embedder != in_use:
        parts.indexing.instead = embedder
        await advance(user_id, embedder, parts)


async def run_round(parts: Parts) -> int:
    """Begins or goes on with users whose vectors are another embedder's than the wanted one; how many."""
    wanted = await _wanted(parts)
    if wanted is None:
        return 0
    parts.indexes.preferred = wanted
    async with parts.database.plainly() as driver:
        users = await segments.users_of_others(driver, wanted, _USERS_A_ROUND)
    for user_id in users:
        await advance(user_id, wanted, parts)
    return len(users)


async def advance(user_id: str, embedder: str, parts: Parts) -> None:
    """Asks for a portion of what lacks a vector, or, where nothing does, gives up the other embedders'."""
    if embedder != await _wanted(parts):
        return
    async with parts.database.writing() as driver:
        await segments.lock(driver, user_id)
        if await segments.open_reindexing(driver, user_id, embedder):
            return  # the last of these asks for the next portion
        lacking = await segments.uncovered(driver, user_id, embedder, MEMORIES_A_JOB * _JOBS_AT_ONCE)
        asked = await _ask(driver, user_id, embedder, lacking, parts) if lacking else 0
    if asked:
        parts.outbox.wake()
    elif not lacking:
        await _give_up_others(user_id, embedder, parts)


async def _ask(driver: object, user_id: str, embedder: str, message_ids: list[str], parts: Parts) -> int:
    requests = index_requests(user_id, message_ids, None, parts.new_id)
    for request in requests:
        await segments.add_job(driver, request.model_copy(update={"embedder": embedder}), parts.clock())
    return len(requests)


async def _give_up_others(user_id: str, embedder: str, parts: Parts) -> None:
    """The new one's vectors are the only ones from the commit on."""
    async with parts.database.writing() as driver:
        await segments.lock(driver, user_id)
        if await segments.uncovered(driver, user_id, embedder, 1):
            return  # something came meanwhile with a vector of another's: the next round asks for one of this
        others = [other for other in await segments.embedders(driver, user_id) if other != embedder]
        slots: frozenset[int] = frozenset()
        for other in others:
            slots |= await segments.remove_embedder(driver, user_id, other)
        note = await retiring.retire(driver, user_id, slots) if slots else None
    if note is None:
        return
    await parts.indexes.reload(user_id)
    await retiring.destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, note)
    await announce_memory_changed(parts.bus, user_id)
    log.info("embedder_taken_over", segments=len(slots))


async def _wanted(parts: Parts) -> str | None:
    async with parts.database.transaction() as session:
        rows = await ledger.read_settings(session)
    settings, _ = settings_from({row.key: row.value for row in rows})
    return settings.embedder or parts.indexing.instead
