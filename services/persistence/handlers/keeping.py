"""Keeping imported turns and notes: sealed, each under a key of its own, all of a call or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.keeping import KeepNote, KeepTurns, KeptMemories
from libs.shared.contracts.memory import ImportedTurn, MemoryItem, MemoryKind
from libs.shared.errors import InvalidRequest
from libs.shared.sealing import seal
from services.persistence.announcing import announce_memory_changed
from services.persistence.derived_ids import derived_conversation_id, notes_conversation_id, source_hash
from services.persistence.imported import (
    NO_TAIL,
    Added,
    by_conversation,
    checked,
    follow,
    in_utc,
    refuse_impossible,
    speaker_column,
)
from services.persistence.index_jobs import index_requests
from services.persistence.opening import OTHER
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, keeping
from services.persistence.repositories.keeping import Heading, NewHeading, NewMemory
from services.persistence.sealing import UserKeys
from services.persistence.undisturbed import fresh_keys, settle, undisturbed

DataKey = tuple[int, bytes]
"""A slot, and the key in it."""


@dataclass(frozen=True)
class Batch:
    """Imported turns that aren't there yet, in the order in which they are kept."""

    turns: Sequence[ImportedTurn]
    ids: Sequence[str]
    hashes: Sequence[bytes]
    conversations: Mapping[str, str]
    """The importer's conversation → ours."""


async def keep_turns(request: KeepTurns, parts: Parts) -> KeptMemories:
    """Imported turns, all or none; those that are there already are passed over."""
    turns = checked(request.turns, parts.clock())
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    embedder = (await parts.indexes.profile(request.user_id)).embedder
    ours = {name: derived_conversation_id(user, name) for name in {turn.conversation_id for turn in turns}}
    async with undisturbed(parts, request.user_id) as driver:
        await keeping.lift_tombstones(driver, set(ours.values()))
        batch = await _absent(driver, request.user_id, user, turns, ours, parts)
        headings = await keeping.headings(driver, request.user_id, set(ours.values()))
        new = [name for name in by_conversation(batch.turns) if ours[name] not in headings]
        keys = await fresh_keys(parts, user, len(batch.turns) + len(new))
        await keeping.begin(driver, request.user_id, _begun(batch, new, keys[len(batch.turns) :]), parts.clock())
        parents, added = _followed(batch, headings)
        memories = await asyncio.to_thread(_sealed, batch, parents, keys)
        await keeping.keep(driver, request.user_id, memories)
        await keeping.grow(driver, request.user_id, added)
        job_ids = await _ask_to_index(driver, request.user_id, _remembered(memories, headings), parts)
    settle(parts, (slot for slot, _ in keys))
    if memories:
        await announce_memory_changed(parts.bus, request.user_id)
    return KeptMemories(
        items=tuple(map(_item, batch.turns, memories)),
        versions=tuple(memory.slot for memory in memories),
        present=len(request.turns) - len(memories),
        job_ids=job_ids,
        embedder=embedder,
    )


async def _absent(
    driver: Any,
    user_id: str,
    user: UserKeys,
    turns: Sequence[ImportedTurn],
    conversations: Mapping[str, str],
    parts: Parts,
) -> Batch:
    hashes = [source_hash(user, turn.id) for turn in turns]
    there = await keeping.present(driver, user_id, hashes)
    own = await keeping.own(driver, user_id, [turn.id for turn in turns])
    absent = [
        (turn, hashed) for turn, hashed in zip(turns, hashes, strict=True) if hashed not in there and turn.id not in own
    ]
    return Batch(
        turns=[turn for turn, _ in absent],
        ids=[parts.new_id() for _ in absent],
        hashes=[hashed for _, hashed in absent],
        conversations=conversations,
    )


def _begun(batch: Batch, names: Sequence[str], keys: Sequence[DataKey]) -> list[NewHeading]:
    """The conversations that the batch begins; the importer's id is the title, until the user gives another."""
    return [
        NewHeading(batch.conversations[name], "import", seal(key, name.encode()), None, slot)
        for name, (slot, key) in zip(names, keys, strict=True)
    ]


def _followed(batch: Batch, headings: Mapping[str, Heading]) -> tuple[list[str | None], dict[str, Added]]:
    parents: list[str | None] = [None] * len(batch.turns)
    added: dict[str, Added] = {}
    for name, places in by_conversation(batch.turns).items():
        ours = batch.conversations[name]
        tail = headings[ours].tail if ours in headings else NO_TAIL
        ids, times = [batch.ids[place] for place in places], [batch.turns[place].at for place in places]
        before, added[ours] = follow(ids, times, tail)
        for place, parent in zip(places, before, strict=True):
            parents[place] = parent
    return parents, added


def _sealed(batch: Batch, parents: Sequence[str | None], keys: Sequence[DataKey]) -> list[NewMemory]:
    return [
        NewMemory(
            message_id=message_id,
            conversation_id=batch.conversations[turn.conversation_id],
            parent_id=parent,
            kind=MemoryKind.MESSAGE,
            speaker=speaker_column(turn.speaker),
            text=seal(key, turn.text.encode()),
            about=seal(key, json.dumps(_about(turn)).encode()),
            source_hash=hashed,
            slot=slot,
            at=turn.at,
        )
        for turn, message_id, hashed, parent, (slot, key) in zip(
            batch.turns, batch.ids, batch.hashes, parents, keys, strict=False
        )
    ]


def _about(turn: ImportedTurn) -> dict[str, str]:
    named = {"name": turn.speaker} if speaker_column(turn.speaker) == OTHER else {}
    return {"source_id": turn.id, **named}


def _item(turn: ImportedTurn, memory: NewMemory) -> MemoryItem:
    return MemoryItem(
        id=memory.message_id,
        text=turn.text,
        source_id=turn.id,
        conversation_id=memory.conversation_id,
        speaker=turn.speaker if memory.speaker == OTHER else memory.speaker,
        at=memory.at,
    )


def _remembered(memories: Sequence[NewMemory], headings: Mapping[str, Heading]) -> list[NewMemory]:
    silent = {conversation_id for conversation_id, heading in headings.items() if not heading.remembered}
    return [memory for memory in memories if memory.conversation_id not in silent]


async def _ask_to_index(driver: Any, user_id: str, memories: Sequence[NewMemory], parts: Parts) -> tuple[str, ...]:
    within = {memory.conversation_id for memory in memories}
    conversation_id = next(iter(within)) if len(within) == 1 else None
    ids = [memory.message_id for memory in memories]
    requests = index_requests(user_id, ids, conversation_id, parts.new_id)
    return await keeping.ask_to_index(driver, requests, parts.clock(), conversation_id)


async def keep_note(request: KeepNote, parts: Parts) -> KeptMemories:
    """A note, in the one conversation that holds the user's notes."""
    if not request.text.strip():
        raise InvalidRequest("a note has no words", errors=["text"])
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    embedder = (await parts.indexes.profile(request.user_id)).embedder
    notes = notes_conversation_id(user)
    async with undisturbed(parts, request.user_id) as driver:
        await keeping.lift_tombstones(driver, (notes,))
        ((slot, key),) = await fresh_keys(parts, user, 1)
        note = _note(request, notes, slot, key, parts)
        if not await keeping.headings(driver, request.user_id, (notes,)):
            await keeping.begin(driver, request.user_id, [NewHeading(notes, "notes", None, None, None)], note.at)
        await keeping.keep(driver, request.user_id, [note])
        added = Added(1, note.at, note.at, note.message_id, out_of_order=False)
        await keeping.grow(driver, request.user_id, {notes: added})
        if request.pinned or request.importance is not None:
            pinned, importance = request.pinned, request.importance
            await keeping.set_state(driver, request.user_id, note.message_id, pinned, importance)
        job_ids = await _ask_to_index(driver, request.user_id, [note], parts)
    settle(parts, (slot,))
    await announce_memory_changed(parts.bus, request.user_id)
    return KeptMemories(
        items=(_note_item(request, note),),
        versions=(slot,),
        job_ids=job_ids,
        conversation_id=notes,
        embedder=embedder,
    )


def _moment(request: KeepNote, parts: Parts) -> datetime:
    if request.at is None:
        return parts.clock()
    at = in_utc(request.at)
    refuse_impossible(at, parts.clock(), "at")
    return at


def _note(request: KeepNote, conversation_id: str, slot: int, key: bytes, parts: Parts) -> NewMemory:
    at = _moment(request, parts)
    return NewMemory(
        message_id=parts.new_id(),
        conversation_id=conversation_id,
        parent_id=None,
        kind=MemoryKind.NOTE,
        speaker=Speaker.USER,
        text=seal(key, request.text.encode()),
        about=None,
        source_hash=None,
        slot=slot,
        at=at,
    )


def _note_item(request: KeepNote, note: NewMemory) -> MemoryItem:
    return MemoryItem(
        id=note.message_id,
        kind=MemoryKind.NOTE,
        text=request.text,
        source_id=note.message_id,
        conversation_id=note.conversation_id,
        speaker=note.speaker,
        at=note.at,
        pinned=request.pinned,
        importance=request.importance or 0.0,
    )
