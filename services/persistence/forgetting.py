"""Forgetting: promised first, then carried out, then told by a signed receipt; finished at start if it was cut short.

1. The promise, with tombstones that keep out what is late, is one transaction.
2. A second one removes every row, seals anew what is left of what a doomed key sealed (siblings in a turn, pieces of
   the index), and notes the old slots with the promise. From its commit on no row needs these keys.
3. What lies in the stream is erased.
4. A third takes the promise, overwrites the keys on disk before it commits, and leaves the receipt.

A crash between any two steps loses no key that a row needs, and leaves the promise, so that the rest is done at start.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from libs.shared.contracts.accounts import UserRef
from libs.shared.contracts.common import Position
from libs.shared.contracts.forgetting import Receipt, Scope
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import (
    ConversationNotFound,
    DocumentNotFound,
    MemoryNotFound,
    ServiceError,
    StorageFull,
    UserNotFound,
)
from libs.shared.sealing import Unreadable
from libs.shared.telemetry import get_logger
from services.persistence import journal
from services.persistence.announcing import announce_memory_changed, announce_standing
from services.persistence.parts import Parts
from services.persistence.receipts import write_receipt
from services.persistence.repositories import accounts, backups, forgetting, removal, work
from services.persistence.repositories.forgetting import Done, Promise
from services.persistence.retiring import KEYS, destroy_retired, release_destroyed
from services.persistence.slot_file import KeyGone
from services.persistence.taking import Taken, take

log = get_logger(__name__)

_POSITIONS_AT_ONCE = 200
_RECEIPT_KEY = b"mongars receipt"
_STREAM = "stream_messages"
_TURNS_WAIT_S = 10.0


async def forget_memory(user_id: str, memory_id: str, parts: Parts) -> Receipt:
    """Forgets a message, note, passage or fact. Raises MemoryNotFound."""
    async with parts.forgetting:
        async with parts.database.writing() as driver:
            scope = await removal.scope_of(driver, user_id, memory_id)
            if scope is None:
                raise MemoryNotFound("there is no such memory")
            promise = await forgetting.promise(driver, user_id, scope, memory_id, parts.clock())
        return await _carry_out(promise, parts)


async def forget_conversation(user_id: str, conversation_id: str, parts: Parts) -> Receipt:
    """Raises ConversationNotFound."""
    return await _forget_conversation("conversation", user_id, conversation_id, parts)


async def forget_document(user_id: str, document_id: str, parts: Parts) -> Receipt:
    """Raises DocumentNotFound."""
    return await _forget_conversation("document", user_id, document_id, parts)


async def _forget_conversation(scope: Scope, user_id: str, conversation_id: str, parts: Parts) -> Receipt:
    async with parts.forgetting:
        async with parts.applier.lock, parts.database.writing() as driver:
            kind = await removal.conversation_kind(driver, user_id, conversation_id)
            if scope == "document" and kind != "document":
                raise DocumentNotFound("there is no such document")
            if kind is None:
                raise ConversationNotFound("there is no such conversation")
            promise = await forgetting.promise(driver, user_id, scope, conversation_id, parts.clock())
        return await _carry_out(promise, parts)


async def forget_everything(user_id: str, parts: Parts) -> Receipt:
    """All that is remembered of a user; the account stays. Raises UserNotFound, NotYetApplied."""
    await parts.watermark.wait_until_caught_up(_TURNS_WAIT_S)
    async with parts.forgetting:
        async with parts.applier.lock, parts.database.writing() as driver:
            if not await forgetting.lock_user(driver, user_id):
                raise UserNotFound("there is no such account")
            promise = await forgetting.promise(driver, user_id, "everything", user_id, parts.clock())
        return await _carry_out(promise, parts)


async def forget_user(ref: UserRef, parts: Parts) -> Receipt:
    """An account with all that it said; the receipt names it. Raises UserNotFound, LastAdmin."""
    async with parts.forgetting:
        async with parts.applier.lock, parts.database.transaction() as session:
            user = await accounts.read_user(session, ref)
            await accounts.keep_an_admin(session, user)
            driver = (await (await session.connection()).get_raw_connection()).driver_connection
            promise = await forgetting.promise(driver, user.user_id, "account", user.user_id, parts.clock())
        return await _carry_out(promise, parts)


async def finish_promised(parts: Parts) -> int:
    """Carries out what was promised and cut short; how many. What fails keeps none of the others from it: what it
    raised is raised at the end."""
    failures: list[ServiceError] = []
    async with parts.forgetting:
        async with parts.database.plainly() as driver:
            waiting = await forgetting.promised(driver)
        for promise, scope in waiting:
            try:
                await _finish(promise, scope, parts)
            except ServiceError as error:
                failures.append(error)
    if failures:
        raise failures[0]
    return len(waiting)


async def _finish(promise: int, scope: str, parts: Parts) -> None:
    try:
        if scope == KEYS:
            await destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, promise)
        else:
            await _carry_out(promise, parts)
    except (KeyGone, Unreadable):
        # the user's own key is lost: nobody reads what was to be forgotten, and nothing else may wait for it
        log.error("forgetting_lacks_the_users_key", scope=scope)


async def replay(entry: journal.Entry, parts: Parts) -> None:
    """Forgets in a restored database what was forgotten after its backup; the receipt is the one of then.

    What the backup doesn't hold takes nothing.
    """
    told = entry.receipt
    async with parts.forgetting:
        async with parts.applier.lock, parts.database.writing() as driver:
            promise = await forgetting.promise(driver, entry.user_id, told.scope, told.subject_id, told.at)
        await _carry_out(promise, parts, told)


async def _carry_out(promise_id: int, parts: Parts, told: Receipt | None = None) -> Receipt:
    """``told``: the receipt of an earlier life, which the journal has already."""
    promise, done = await _remove_rows(promise_id, parts)
    await announce_memory_changed(parts.bus, promise.user_id)
    await announce_standing(parts.bus, done.adapters)
    pending = () if await _erase(done.positions, parts) else (_STREAM,)
    if told is None:
        told = _receipt(promise, done, pending, parts)
        await _write_down(journal.Entry(user_id=promise.user_id, receipt=told), parts)
    receipt = await _destroy_and_tell(promise, told, parts)
    log.info("forgotten", scope=promise.scope, data_keys=done.removed.data_keys, messages=done.removed.messages)
    return receipt


async def _remove_rows(promise_id: int, parts: Parts) -> tuple[Promise, Done]:
    """The promise as it was taken up, and what its rows' removal took, now or before a crash."""
    taken: Taken | None = None
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(parts.database.writing())
        promise = await forgetting.take_up(driver, promise_id)
        done = promise.done
        if done is None:
            if promise.in_place:
                await stack.enter_async_context(parts.applier.lock)
            held = parts.backups.holding(await backups.kept_since(driver, promise))
            taken = await take(driver, promise, parts)
            done = Done(taken.removed(parts.keys.slots.used), taken.positions, held, tuple(sorted(taken.adapters)))
            await forgetting.note(driver, promise_id, taken.slots, done)
    if taken is not None and taken.asks_again:
        parts.outbox.wake()
    await _drop_from_memory(promise, taken, parts)
    return promise, done


async def _drop_from_memory(promise: Promise, taken: Taken | None, parts: Parts) -> None:
    """What this process holds; ``taken`` is None where a commit before this one removed the rows."""
    if taken is None or promise.scope in ("account", "everything"):
        parts.indexes.drop(promise.user_id)
    else:
        parts.indexes.forgotten(promise.user_id, taken.ordinals)
        if taken.facts:
            await parts.indexes.superseded(promise.user_id)
    if taken is None or taken.facts:
        parts.fact_keys.drop(promise.user_id)
    if promise.scope == "account":
        parts.keys.drop_user(promise.user_id)
    if promise.scope in ("account", "everything"):
        parts.owners.drop_user(promise.user_id)
    elif promise.scope in ("conversation", "document"):
        parts.owners.drop(promise.subject_id)


async def _erase(positions: tuple[Position, ...], parts: Parts) -> bool:
    """Whether the stream let go of all; if not, housekeeping repeats it, and their keys go all the same."""
    for start in range(0, len(positions), _POSITIONS_AT_ONCE):
        chosen = positions[start : start + _POSITIONS_AT_ONCE]
        try:
            await parts.bus.delete_messages(TURN_COMPLETED, chosen)
        except ServiceError as error:
            log.warning("stream_erasure_postponed", reason=error.code)
            return False
        async with parts.database.transaction() as session:
            await work.remove_positions(session, chosen)
    return True


def _receipt(promise: Promise, done: Done, pending: tuple[str, ...], parts: Parts) -> Receipt:
    return write_receipt(
        parts.keys.derived_key(_RECEIPT_KEY),
        receipt_id=parts.new_id(),
        scope=promise.scope,
        subject_id=promise.subject_id,
        at=parts.clock(),
        removed=done.removed,
        pending=pending,
        backups=done.backups,
        tainted_adapters=done.adapters,
    )


async def _write_down(entry: journal.Entry, parts: Parts) -> None:
    """Outside of the database, before the receipt is given out. Raises StorageFull: the promise stays, and is repeated.
    A second line of the same forgetting, after a crash, does no harm."""
    key = parts.keys.derived_key(journal.PURPOSE)
    try:
        await asyncio.to_thread(journal.append, parts.journal, key, entry)
    except OSError as error:
        raise StorageFull("the journal of forgettings can't be written") from error


async def _destroy_and_tell(promise: Promise, receipt: Receipt, parts: Parts) -> Receipt:
    async with parts.database.writing() as driver:
        slots = await forgetting.keep_promise(driver, promise.id)
        await forgetting.add_receipt(driver, promise.user_id, receipt)
        await parts.keys.slots.destroy(slots)
    release_destroyed(parts.keys.slots, parts.unused_keys, slots)
    return receipt
