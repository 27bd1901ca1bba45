"""Editing memories: a new text under a new key, and nothing left of what the old one said."""

from __future__ import annotations

from typing import Any

from libs.shared.contracts.keeping import KeptMemories, RewriteMemory
from libs.shared.contracts.memory import Fact, MemoryKind
from libs.shared.errors import InvalidRequest, MemoryNotFound
from libs.shared.sealing import Unreadable, seal, unseal
from services.persistence.announcing import announce_memory_changed
from services.persistence.asking_again import ask_again
from services.persistence.handlers.facts import sealed_fact
from services.persistence.handlers.memories import one_item
from services.persistence.index_jobs import index_requests
from services.persistence.opening import open_fact
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, facts, keeping, memories, ratings, removal
from services.persistence.repositories.memories import SealedMemory
from services.persistence.repositories.removal import SealedSibling
from services.persistence.repositories.trained import Cause
from services.persistence.retiring import destroy_retired, retire
from services.persistence.sealing import UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.underived import TakenBack, hold_index, take_back
from services.persistence.undisturbed import fresh_keys, settle, undisturbed

EDITED_BY = "user@1"
"""In place of an extractor, once a person has put a fact in their own words."""


async def rewrite_memory(request: RewriteMemory, parts: Parts) -> KeptMemories:
    """Sets what is given of a memory or a fact. Raises MemoryNotFound."""
    if request.text is not None and not request.text.strip():
        raise InvalidRequest("a memory has words: forget it instead", errors=["text"])
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        scope = await removal.scope_of(driver, request.user_id, request.id)
    if scope is None:
        raise MemoryNotFound("there is no such memory")
    if scope == "fact":
        await _rewrite_fact(request, user, parts)
        job_ids, slots = tuple[str, ...](), frozenset[int]()
    else:
        job_ids, slots = await _rewrite_said(request, user, parts)
    await announce_memory_changed(parts.bus, request.user_id)
    async with parts.database.plainly() as driver:
        item = await one_item(driver, request.user_id, user, request.id, parts)
    return KeptMemories(
        items=(item,),
        versions=tuple(slots),
        job_ids=job_ids,
        conversation_id=item.conversation_id,
        embedder=(await parts.indexes.profile(request.user_id)).embedder,
    )


# ---------------------------------------------------------------- what was said, noted or read


async def _rewrite_said(request: RewriteMemory, user: UserKeys, parts: Parts) -> tuple[tuple[str, ...], frozenset[int]]:
    """The jobs of the edited text, and the slot that it has now, if it has another."""
    taken_back, job_ids, slots = TakenBack(request.user_id, (), None), tuple[str, ...](), frozenset[int]()
    async with undisturbed(parts, request.user_id) as driver:
        await hold_index(driver, request.user_id)
        row = await _found(driver, request)
        if request.text is not None:
            slots, taken_back = await _seal_anew(driver, request, request.text, user, parts)
            job_ids = await _ask_to_index(driver, row, request, parts)
        if request.pinned is not None or request.importance is not None:
            await keeping.set_state(driver, request.user_id, request.id, request.pinned, request.importance)
        pinned, importance = await memories.chosen(driver, request.user_id, request.id)
    settle(parts, slots)
    parts.outbox.wake()
    await taken_back.finish(parts)
    parts.indexes.state_set(request.user_id, row.ordinal, pinned, importance)
    return job_ids, slots


async def _found(driver: Any, request: RewriteMemory) -> SealedMemory:
    rows = await memories.by_id(driver, request.user_id, (request.id,))
    if not rows:
        raise MemoryNotFound("there is no such memory")
    if rows[0].kind == MemoryKind.PASSAGE and request.text is not None:
        raise InvalidRequest("a passage says what its document says: change the document instead", errors=["text"])
    return rows[0]


async def _seal_anew(
    driver: Any, request: RewriteMemory, text: str, user: UserKeys, parts: Parts
) -> tuple[frozenset[int], TakenBack]:
    """The turn under a fresh key, with the new text; the slot of that key, and what is to be finished."""
    doomed = await removal.message(driver, request.user_id, request.id)
    if doomed is None:
        raise MemoryNotFound("there is no such memory")
    within = await memories.of_turn(driver, request.user_id, doomed.turn_id)
    ((slot, key),) = await fresh_keys(parts, user, 1)
    anew = [_resealed(one, text if one.message_id == request.id else None, key, user, parts) for one in within]
    await removal.reseal(driver, doomed.turn_id, slot, anew, edited=request.id)
    await removal.position_of_turn(driver, doomed.turn_id, parts.clock())
    old = {one.slot for one in within}
    await ratings.remove(driver, doomed.turn_id)  # the thumb was for what it said before
    return frozenset((slot,)), await take_back(driver, request.user_id, [doomed], parts, old, cause=Cause.EDITED)


def _resealed(row: SealedSibling, text: str | None, key: bytes, user: UserKeys, parts: Parts) -> SealedSibling:
    try:
        old = parts.keys.data_key(user, row.slot)
        plain = unseal(old, row.text) if text is None else text.encode()
        about = None if row.about is None else seal(key, unseal(old, row.about))
    except (KeyGone, Unreadable):
        raise MemoryNotFound("the memory can't be read any more") from None
    return SealedSibling(row.message_id, row.slot, seal(key, plain), about)


async def _ask_to_index(driver: Any, row: SealedMemory, request: RewriteMemory, parts: Parts) -> tuple[str, ...]:
    """A job for the edited one, which who edits it does at once, and others for what was sealed anew with it."""
    headings = await keeping.headings(driver, request.user_id, (row.conversation_id,))
    if not headings[row.conversation_id].remembered:
        return ()
    within = await memories.ids_of_turn(driver, request.user_id, row.message_id)
    beside = [message_id for message_id in within if message_id != row.message_id]
    await ask_again(driver, request.user_id, beside, row.conversation_id, parts)
    requests = index_requests(request.user_id, [row.message_id], row.conversation_id, parts.new_id)
    return await keeping.ask_to_index(driver, requests, parts.clock(), row.conversation_id)


# ---------------------------------------------------------------- facts


async def _rewrite_fact(request: RewriteMemory, user: UserKeys, parts: Parts) -> None:
    if request.pinned is not None or request.importance is not None:
        raise InvalidRequest(
            "a fact is as strong as the memories that it was drawn from: pin those", errors=["pinned", "importance"]
        )
    if request.text is None:
        return
    async with undisturbed(parts, request.user_id) as driver:
        rows = await facts.by_id(driver, request.user_id, (request.id,))
        fact = open_fact(parts.keys, user, rows[0]) if rows else None
        if fact is None:
            raise MemoryNotFound("there is no such memory")
        ((slot, key),) = await fresh_keys(parts, user, 1)
        await facts.rewrite(driver, request.user_id, fact.id, slot, sealed_fact(key, edited(fact, request.text)))
        note = await retire(driver, request.user_id, {rows[0].slot})
    settle(parts, (slot,))
    await destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, note)


def edited(fact: Fact, text: str) -> Fact:
    """The fact in its user's words. Where only the value changed within the sentence, that is the new value; else the
    sentence is: the old one must not stay behind it."""
    head, _, tail = fact.text.partition(fact.value)
    framed = fact.value in fact.text and text.startswith(head) and text.endswith(tail)
    value = text[len(head) : len(text) - len(tail)].strip() if framed else ""
    return fact.model_copy(update={"text": text, "value": value or text, "extractor": EDITED_BY})
