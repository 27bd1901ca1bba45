"""Generations of digests: written at night, read by what is in force. Each digest is sealed by its memory's own key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.shared.contracts.digests import (
    TELLING_KEY_BYTES,
    BeginDigests,
    Digest,
    Digests,
    DigestsKept,
    Generation,
    GenerationRef,
    KeepDigests,
    ListUndigested,
    ReadDigests,
    ReadUndigested,
    Undigested,
    UndigestedMemories,
    UndigestedMemory,
)
from libs.shared.errors import DigestsGone, InvalidRequest
from libs.shared.sealing import Unreadable, seal, unseal
from services.persistence.digest_content import commitment, packed, unpacked
from services.persistence.opening import open_many, open_message
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, digests
from services.persistence.repositories.digests import SealedDigest, SealedGeneration
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.undisturbed import undisturbed

MOST_SENTENCE_BYTES = 64 * 1024
"""Of one digest."""


async def list_undigested(request: ListUndigested, parts: Parts) -> Undigested:
    """Whose memories wait for a night."""
    async with parts.database.plainly() as driver:
        return Undigested(waiting=await digests.waiting(driver, request.recipe, request.limit))


async def begin_digests(request: BeginDigests, parts: Parts) -> Generation:
    """The generation to write to: the one that is being written already, or a fresh one above what is in force."""
    embedder = (await parts.indexes.profile(request.user_id)).embedder
    async with parts.database.writing() as driver:
        await digests.lock(driver, request.user_id)
        await accounts.keys_of(driver, parts.keys, request.user_id)
        known = await digests.all_of(driver, request.user_id)
        chosen, superfluous = next_of(known, request.recipe, embedder, parts.new_id())
        await digests.drop(driver, request.user_id, superfluous)
        if chosen not in known:
            await digests.begin(driver, request.user_id, chosen, parts.clock())
        return _told(chosen, await digests.count(driver, request.user_id, chosen.number))


def next_of(
    known: Sequence[SealedGeneration], recipe: str, embedder: str | None, new_id: str
) -> tuple[SealedGeneration, list[int]]:
    """The generation to write to, and the numbers of those that go: beyond what is in force, and not this one.

    By another recipe or embedder all is made anew: its base is itself.
    """
    current = next((one for one in known if one.in_force), None)
    reached = current.number if current else 0
    beyond = [one for one in known if one.number > reached]
    writing = next(
        (one for one in beyond if one.commitment is None and (one.recipe, one.embedder) == (recipe, embedder)), None
    )
    superfluous = [one.number for one in beyond if one is not writing]
    if writing is not None:
        return writing, superfluous
    goes_on = current is not None and (current.recipe, current.embedder) == (recipe, embedder)
    number = reached + 1
    base = current.base if current is not None and goes_on else number
    return SealedGeneration(new_id, number, base, recipe, embedder, None, False), superfluous


def _told(one: SealedGeneration, count: int) -> Generation:
    return Generation(
        generation_id=one.generation_id,
        number=one.number,
        base=one.base,
        recipe=one.recipe,
        embedder=one.embedder,
        digests=count,
        commitment=one.commitment,
        in_force=one.in_force,
    )


async def _writing(driver: Any, user_id: str, generation_id: str) -> SealedGeneration:
    """Raises DigestsGone."""
    found = await digests.one(driver, user_id, generation_id)
    if found is None or found.commitment is not None:
        raise DigestsGone("nothing is written to this generation of digests any more")
    return found


async def read_undigested(request: ReadUndigested, parts: Parts) -> UndigestedMemories:
    """Texts to digest; what can't be read any more is absent."""
    async with parts.database.plainly() as driver:
        generation = await _writing(driver, request.user_id, request.generation_id)
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        rows = await digests.undigested(driver, request.user_id, generation, request.limit)
    opened = await open_many(rows, lambda row: open_message(parts.keys, user, row))
    return UndigestedMemories(
        memories=tuple(
            UndigestedMemory(
                message_id=row.message_id,
                version=row.slot,
                text=message.text,
                speaker=message.speaker,
                at=row.at,
            )
            for row, message in zip(rows, opened, strict=True)
            if message is not None
        )
    )


async def keep_digests(request: KeepDigests, parts: Parts) -> DigestsKept:
    """Seals each by its memory's key. What was forgotten or edited since it was read is passed over."""
    _check(request.digests)
    given = {digest.message_id: digest for digest in request.digests}
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    async with undisturbed(parts, request.user_id) as driver:
        await digests.lock(driver, request.user_id)
        generation = await _writing(driver, request.user_id, request.generation_id)
        versions = {digest.message_id: digest.version for digest in given.values()}
        there = await digests.hold(driver, request.user_id, versions)
        sealed = [_sealed(given[one], user, parts.keys) for one in sorted(there)]
        rows = [row for row in sealed if row is not None]
        await digests.keep(driver, request.user_id, generation.number, rows)
    return DigestsKept(count=len(rows), sealed_bytes=sum(len(row.content) for row in rows))


def _check(given: Sequence[Digest]) -> None:
    """Raises InvalidRequest."""
    for digest in given:
        if digest.vectors and (not digest.sentences or len(digest.vectors) % len(digest.sentences)):
            raise InvalidRequest("a digest has one vector a sentence, all of one length", errors=["vectors"])
        if digest.keys and len(digest.keys) != TELLING_KEY_BYTES * len(digest.sentences):
            raise InvalidRequest("a digest has one key a sentence", errors=["keys"])
        if sum(len(one.encode(errors="replace")) for one in digest.sentences) > MOST_SENTENCE_BYTES:
            raise InvalidRequest("a digest is shorter than this", errors=["sentences"])


def _sealed(digest: Digest, user: UserKeys, keys: KeyRing) -> SealedDigest | None:
    """None where the key went meanwhile."""
    try:
        key = keys.data_key(user, digest.version)
    except (KeyGone, Unreadable):
        return None
    return SealedDigest(digest.message_id, digest.version, seal(key, packed(digest)))


async def seal_digests(request: GenerationRef, parts: Parts) -> Generation:
    """Commits to what was written. Once more it gives the same."""
    async with parts.database.writing() as driver:
        await digests.lock(driver, request.user_id)
        found = await digests.one(driver, request.user_id, request.generation_id)
        if found is None:
            raise DigestsGone("there is no such generation of digests")
        rows = await digests.of_generation(driver, request.user_id, found.number)
        if found.commitment is not None:
            return _told(found, len(rows))
        made = commitment(found.generation_id, ((row.message_id, row.version, row.content) for row in rows))
        await digests.commit_to(driver, found.generation_id, made)
        sealed = await digests.one(driver, request.user_id, request.generation_id)
    assert sealed is not None
    return _told(sealed, len(rows))


async def read_digests(request: ReadDigests, parts: Parts) -> Digests:
    """What counts with the generation that is in force (or asked for), of these memories."""
    async with parts.database.plainly() as driver:
        if request.generation_id is None:
            generation = await digests.in_force(driver, request.user_id)
        else:
            generation = await digests.one(driver, request.user_id, request.generation_id)
            if generation is None:
                raise DigestsGone("there is no such generation of digests")
        if generation is None:
            return Digests()
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        rows = await digests.read(driver, request.user_id, request.message_ids, generation)
    opened = await open_many(rows, lambda row: _opened(row, user, parts.keys))
    return Digests(generation=_told(generation, 0), digests=tuple(one for one in opened if one is not None))


def _opened(row: SealedDigest, user: UserKeys, keys: KeyRing) -> Digest | None:
    """None where the key is gone: so is the digest."""
    try:
        content = unseal(keys.data_key(user, row.version), row.content)
    except (KeyGone, Unreadable):
        return None
    return unpacked(row.message_id, row.version, content)
