"""One user's segments at rest: sealed under fresh keys, read, merged, and rewritten without what is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from libs.shared.sealing import Unreadable, seal, unseal
from libs.shared.telemetry import get_logger
from services.persistence import segments
from services.persistence.memory_index import MemoryIndex
from services.persistence.repositories import segments as rows
from services.persistence.repositories.segments import NewSegment, SegmentHead
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.segments import SegmentDamaged, TermRows, VectorRows
from services.persistence.slot_file import KeyGone
from services.persistence.tables.index import TERMS
from services.persistence.unused_keys import UnusedKeys

log = get_logger(__name__)

_READ_AT_ONCE = 16
"""Segments of at most a few MiB each."""
_SMALL_BYTES = 64 * 1024
"""Below it sealing takes less than handing over to a thread."""
Rows = TermRows | VectorRows
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rewritten:
    """What taking memories out changed; ``old_slots`` are to be destroyed once it is committed."""

    old_slots: frozenset[int]
    segments: int
    terms: int
    """Memories whose terms went."""
    vectors: int


@dataclass(frozen=True)
class Merged:
    """What joining segments changed; ``old_slots`` are to be destroyed once it is committed."""

    old_slots: frozenset[int]
    waiting: int
    """How many small segments of one kind were too few to be joined."""


@dataclass
class Contents:
    """Everything that was read of a user's index."""

    terms: list[TermRows] = field(default_factory=list)
    vectors: dict[str, list[VectorRows]] = field(default_factory=dict)
    lost: list[SegmentHead] = field(default_factory=list)
    """Segments that no key opens."""

    def as_index(self, embedder: str | None) -> MemoryIndex:
        """As it is searched, with the vectors of one embedder."""
        index = MemoryIndex(embedder=embedder)
        terms, vectors = segments.joined_terms(self.terms), self.vectors.get(embedder or TERMS)
        index.reserve(len(terms))
        index.add(terms, segments.joined_vectors(vectors) if vectors else None, embedder)
        return index


class SegmentStore:
    """Reads and writes segments in its callers' transactions. Every content is sealed under a key of its own."""

    def __init__(self, keys: KeyRing, unused: UnusedKeys) -> None:
        self._keys = keys
        self._unused = unused

    async def write(self, driver: Any, user_id: str, user: UserKeys, embedder: str, content: Rows) -> None:
        """A new segment and its members."""
        (sealed,) = await self._sealed(user, [(embedder, content)])
        await rows.insert(driver, user_id, sealed)

    async def read(self, driver: Any, user_id: str, user: UserKeys, embedder: str | None) -> Contents:
        """All terms, and the vectors of one embedder."""
        wanted = [h for h in await rows.heads(driver, user_id) if h.embedder in (TERMS, embedder)]
        found = Contents()
        for start in range(0, len(wanted), _READ_AT_ONCE):
            for head, content in await self._open(driver, user, wanted[start : start + _READ_AT_ONCE]):
                if content is None:
                    found.lost.append(head)
                elif isinstance(content, TermRows):
                    found.terms.append(content)
                else:
                    found.vectors.setdefault(head.embedder, []).append(content)
        return found

    async def dimensions(self, driver: Any, user_id: str, user: UserKeys, embedder: str) -> int | None:
        """Of the embedder's vectors; None where there are none yet, or none can be read."""
        own = [head for head in await rows.heads(driver, user_id) if head.embedder == embedder]
        smallest = sorted(own, key=lambda head: head.count)[:1]
        for _, content in await self._open(driver, user, smallest):
            if isinstance(content, VectorRows):
                return int(content.matrix.shape[1])
        return None

    async def take_out(self, driver: Any, user_id: str, user: UserKeys, ordinals: Iterable[int]) -> Rewritten:
        """Seals the touched segments anew, without these memories."""
        gone = sorted(set(ordinals))
        slots: set[int] = set()
        taken = {True: 0, False: 0}
        heads = await rows.holding(driver, user_id, gone)
        for start in range(0, len(heads), _READ_AT_ONCE):
            opened = await self._open(driver, user, heads[start : start + _READ_AT_ONCE])
            touched = [(head, content, kept) for head, content in opened if (kept := _kept(content, gone)) is not None]
            await self._rewrite(driver, user, [(head, kept) for head, _, kept in touched])
            slots |= {head.slot for head, _, _ in touched}
            for head, content, kept in touched:
                taken[head.embedder == TERMS] += len(content or ()) - len(kept)
        await rows.leave(driver, user_id, gone)
        return Rewritten(frozenset(slots), len(slots), taken[True], taken[False])

    async def merge(self, driver: Any, user_id: str, user: UserKeys) -> Merged:
        """Joins small segments where there are many."""
        heads = await rows.heads(driver, user_id)
        old: set[int] = set()
        small = Counter((head.embedder, head.tier) for head in heads if segments.is_small(head.tier))
        for embedder in {head.embedder for head in heads}:
            own = {head.segment_id: head for head in heads if head.embedder == embedder}
            for chosen in segments.merges([(h.segment_id, h.tier, h.count) for h in own.values()]):
                old |= await self._join(driver, user_id, user, [own[segment_id] for segment_id in chosen])
        return Merged(frozenset(old), 0 if old else max(small.values(), default=0))

    async def give_up(self, driver: Any, user_id: str, contents: Contents) -> list[str]:
        """Removes segments that no key opens; the memories that are to be indexed anew."""
        await rows.remove(driver, [head.segment_id for head in contents.lost])
        messages: dict[str, None] = {}
        for embedder in {head.embedder for head in contents.lost}:
            held = contents.terms if embedder == TERMS else contents.vectors.get(embedder, [])
            ordinals = [ordinal for content in held for ordinal in content.ordinals.tolist()]
            messages |= dict.fromkeys(await rows.remove_lost(driver, user_id, embedder, ordinals))
        return list(messages)

    async def _join(self, driver: Any, user_id: str, user: UserKeys, heads: Sequence[SegmentHead]) -> set[int]:
        opened = await self._open(driver, user, heads)
        readable = [content for _, content in opened if content is not None]
        if len(readable) < len(heads):
            return set()  # the next load finds out which memories have to be indexed anew
        (sealed,) = await self._sealed(user, [(heads[0].embedder, _joined(readable))])
        await rows.remove(driver, [head.segment_id for head in heads])
        await rows.insert(driver, user_id, sealed)
        return {head.slot for head in heads}

    async def _open(
        self, driver: Any, user: UserKeys, heads: Sequence[SegmentHead]
    ) -> list[tuple[SegmentHead, Rows | None]]:
        sealed = await rows.contents(driver, [head.segment_id for head in heads])

        def unsealed() -> list[tuple[SegmentHead, Rows | None]]:
            return [(head, self._unseal(user, head, sealed[head.segment_id])) for head in heads]

        return await _where_it_pays(sum(map(len, sealed.values())), unsealed)

    def _unseal(self, user: UserKeys, head: SegmentHead, sealed: bytes) -> Rows | None:
        unpack: Callable[[bytes], Rows] = segments.unpack_terms if head.embedder == TERMS else segments.unpack_vectors
        try:
            return unpack(unseal(self._keys.data_key(user, head.slot), sealed))
        except (KeyGone, Unreadable, SegmentDamaged) as error:
            log.warning("segment_unreadable", segment_id=head.segment_id, reason=type(error).__name__)
            return None

    async def _rewrite(self, driver: Any, user: UserKeys, kept: Sequence[tuple[SegmentHead, Rows]]) -> None:
        left = [(head, content) for head, content in kept if len(content)]
        sealed = await self._sealed(user, [(head.embedder, content) for head, content in left])
        for (head, _), segment in zip(left, sealed, strict=True):
            await rows.replace(driver, head.segment_id, segment)
        await rows.remove(driver, [head.segment_id for head, content in kept if not len(content)])

    async def _sealed(self, user: UserKeys, contents: Sequence[tuple[str, Rows]]) -> list[NewSegment]:
        keys = await self._keys.new_data_keys(user, len(contents))
        for slot, _ in keys:
            # should the caller's transaction fail, no row ever needs it
            self._unused.handed_out(slot, monotonic())

        def sealed() -> list[NewSegment]:
            return [
                NewSegment(
                    embedder=embedder,
                    tier=segments.tier_of(len(content)),
                    ordinals=content.ordinals.tolist(),
                    slot=slot,
                    content=_seal(key, content),
                )
                for (embedder, content), (slot, key) in zip(contents, keys, strict=True)
            ]

        return await _where_it_pays(sum(len(content) for _, content in contents) * 1024, sealed)


async def _where_it_pays(size: int, work: Callable[[], Result]) -> Result:
    return await asyncio.to_thread(work) if size > _SMALL_BYTES else work()


def _seal(key: bytes, content: Rows) -> bytes:
    packed = segments.pack_terms(content) if isinstance(content, TermRows) else segments.pack_vectors(content)
    return seal(key, packed)


def _kept(content: Rows | None, gone: Sequence[int]) -> Rows | None:
    """What stays of a segment; None where nothing of it goes, or nothing can be read."""
    if content is None:
        return None
    keep = ~np.isin(content.ordinals, np.array(gone, dtype=np.int64))
    if keep.all():
        return None
    if isinstance(content, TermRows):
        return segments.chosen_terms(content, keep)
    return segments.chosen_vectors(content, keep)


def _joined(contents: Sequence[Rows]) -> Rows:
    terms = [content for content in contents if isinstance(content, TermRows)]
    if terms:
        return segments.joined_terms(terms)
    return segments.joined_vectors([content for content in contents if isinstance(content, VectorRows)])
