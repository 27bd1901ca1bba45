"""Finding evidence for a question within one user's memory."""

from __future__ import annotations

from collections.abc import Sequence

from libs.shared.contracts.base import MIB
from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import Candidates, FindCandidates, Profile, ReadProfile
from libs.shared.errors import InvalidRequest
from services.persistence.handlers.memories import readable_items
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, digests, memories, segments
from services.persistence.repositories.memories import SealedMemory

MOST_FRESH = 32
"""Memories, and the jobs that they are looked for in: indexing is seldom so far behind."""
MOST_FRESH_BYTES = 4 * MIB
"""Of their texts together: a few very long ones must not make the reply larger than the bus takes."""


async def read_profile(request: ReadProfile, parts: Parts) -> Profile:
    """Names, embedder and size of a user's memory, and which digests are in force."""
    profile = await parts.indexes.profile(request.user_id)
    async with parts.database.plainly() as driver:
        generation = await digests.in_force(driver, request.user_id)
    return profile.model_copy(update={"digests": generation.number if generation else None})


async def find_candidates(request: FindCandidates, parts: Parts) -> Candidates:
    """The best by each kind of evidence; what was just said beside them."""
    if request.vector is not None and request.embedder is None:
        raise InvalidRequest("a vector needs the name of its embedder", errors=["embedder"])
    if request.vector is not None and len(request.vector) % 4:
        raise InvalidRequest("a vector is float32 values", errors=["vector"])
    await parts.watermark.wait_for(request.read_after)
    fresh = await _fresh(request.user_id, parts)
    # in this order: what is indexed between the two is found twice rather than not at all
    return await parts.indexes.find(request, fresh)


async def _fresh(user_id: str, parts: Parts) -> list[MemoryItem]:
    unindexed = parts.outbox.unindexed
    if unindexed.none_of(user_id):
        return []
    commits = unindexed.commits
    async with parts.database.plainly() as driver:
        ordinals = await segments.fresh(driver, user_id, MOST_FRESH)
        if not ordinals:
            unindexed.looked(user_id, commits)
            return []
        user = await accounts.keys_of(driver, parts.keys, user_id)
        rows = fitting(await memories.by_ordinal(driver, user_id, ordinals), MOST_FRESH_BYTES)
        items = await readable_items(driver, parts.keys, user_id, user, rows)
    return [item for item in items if item is not None]


def fitting(rows: Sequence[SealedMemory], most_bytes: int) -> list[SealedMemory]:
    """The first ones whose texts fit together; one that is too long by itself is passed over."""
    kept: list[SealedMemory] = []
    for row in rows:
        if len(row.text) <= most_bytes:
            kept.append(row)
            most_bytes -= len(row.text)
    return kept
