"""Every user's index in memory: loaded when it is first needed, kept current, the longest unused given up for room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from libs.shared.cache.curves import UseCurve
from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import Candidates, FindCandidates, Profile
from libs.shared.errors import InvalidRequest, ServiceError
from libs.shared.telemetry import get_logger
from services.persistence import retiring, segments
from services.persistence.additions import MANY_ROWS, Addition, term_rows, vector_rows, without
from services.persistence.candidates import Asked, candidates, search
from services.persistence.index_jobs import index_requests
from services.persistence.memory_index import MemoryIndex, State
from services.persistence.postgres import Database
from services.persistence.repositories import accounts, work
from services.persistence.repositories import segments as rows
from services.persistence.repositories.segments import Owned
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.segment_store import Rewritten, SegmentStore
from services.persistence.segments import TermRows, VectorRows
from services.persistence.tables.index import TERMS
from services.persistence.unused_keys import UnusedKeys

log = get_logger(__name__)

_MOST_NAMES = 256
_OWN_NAMES = ("user", "assistant")
_MANY_MEMORIES = 2000
"""From so many on, searching is worth a thread."""
_SEARCHES_BESIDE = 2
"""Threads that look for the nearest vectors while others score the terms."""
_MOST_WARMED = 100
_ROOM_LEFT = 2
"""Warming ends at half of the room, so that those who come first aren't given up for those who may."""
_MOST_ENTRIES = 10_000
_LOADS = 3
"""Times that what changes meanwhile is loaded at the most; what is dropped meanwhile as often as it takes."""
Result = TypeVar("Result")


@dataclass
class _Entry:
    """One user's index and what holds its changes apart."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while something is loaded, added or settled; searches don't wait for it."""
    index: MemoryIndex | None = None
    nbytes: int = 0
    changes: int = 0
    drops: int = 0
    gone: set[int] = field(default_factory=set)
    """Forgotten since what holds the lock began: it may have read them before."""
    small: int = segments.MERGED_AT_ONCE
    """Segments that may wait to be joined; before the first look as many as make one worth it."""


@dataclass
class Indexes:
    """The only way to the index. Everything is asked within one user."""

    database: Database
    keys: KeyRing
    unused: UnusedKeys
    budget_bytes: int
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    on_job: Callable[[], None]
    """Told after a commit that put an event into the outbox."""
    curve: UseCurve | None = None
    """What other sizes would have held of what people asked."""
    preferred: str | None = None
    """The embedder that is to be used where a user's memories have vectors of several, equally many."""
    _entries: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._store = SegmentStore(self.keys, self.unused)
        self._beside = ThreadPoolExecutor(_SEARCHES_BESIDE, thread_name_prefix="nearest")

    async def profile(self, user_id: str) -> Profile:
        """What has to be known of a user's memory before a question is understood. Raises UserNotFound."""
        index = await self._opened(user_id)
        view = index.view
        alive = index["alive"][: view.size]
        counts = np.bincount(index["speakers"][: view.size][alive], minlength=len(index.names))
        often = [index.names[place] for place in np.argsort(-counts, kind="stable") if counts[place]]
        names = [name for name in often if name not in _OWN_NAMES]
        return Profile(names=tuple(names[:_MOST_NAMES]), embedder=index.embedder, memories=view.documents)

    async def find(self, request: FindCandidates, fresh: Sequence[MemoryItem] = ()) -> Candidates:
        """The best by each kind of evidence, with all evidence of each. Raises UserNotFound."""
        index = await self._opened(request.user_id)
        if self.curve is not None and not request.background:
            self.curve.used(request.user_id, index.nbytes, monotonic())
        user = await self._user(request.user_id)
        asked = Asked.of(request, [segments.term_number(user.hash_term(term)) for term in request.terms])
        if index.view.size < _MANY_MEMORIES:
            found = search(index, asked)
        else:
            found = await asyncio.to_thread(search, index, asked, self._beside)
        return candidates(index, found, tuple(fresh))

    async def add(self, addition: Addition) -> int:
        """Makes memories findable, at rest and in memory; how many of the rows are of memories that exist.

        Raises UserNotFound, InvalidRequest.
        """
        # who asked may go away: what is committed is taken in nevertheless, and no thread is left without its lock
        return await asyncio.shield(self._begun(self._add(addition)))

    async def _add(self, addition: Addition) -> int:
        async with self._held(addition.user_id) as entry:
            entry.gone.clear()
            async with self.database.writing() as driver:
                user = await accounts.keys_of(driver, self.keys, addition.user_id)
                await rows.lock(driver, addition.user_id)
                versions = {row.message_id: row.version for row in addition.rows}
                found = await rows.owned(driver, addition.user_id, versions, addition.embedder)
                owned = {message_id: one for message_id, one in found.items() if one.current}
                await self._check_dimensions(driver, addition, user, entry.index)
                terms = await term_rows(addition, owned, user)
                vectors = vector_rows(addition, owned)
                for embedder, content in ((TERMS, terms), (addition.embedder, vectors)):
                    if content is not None and embedder is not None:
                        await self._store.write(driver, addition.user_id, user, embedder, content)
                if len(owned) == len(found):  # else they are offered again: a text has to be read anew
                    await work.finish_jobs(driver, addition.user_id, addition.done_jobs, self.clock())
            await self._take_in(entry, terms, vectors, addition.embedder, owned)
        self._merge_soon(addition.user_id, entry, terms, vectors)
        self._make_room()
        return len(owned)

    async def _check_dimensions(
        self, driver: Any, addition: Addition, user: UserKeys, index: MemoryIndex | None
    ) -> None:
        if addition.dimensions is None or addition.embedder is None:
            return
        if index is not None and index.embedder == addition.embedder and index.vectors is not None:
            known: int | None = index.vectors.dimensions
        else:
            known = await self._store.dimensions(driver, addition.user_id, user, addition.embedder)
        if known not in (None, addition.dimensions):
            raise InvalidRequest(f"this embedder's vectors have {known} dimensions", errors=["rows"])

    async def _take_in(
        self,
        entry: _Entry,
        terms: TermRows | None,
        vectors: VectorRows | None,
        embedder: str | None,
        owned: Mapping[str, Owned],
    ) -> None:
        index = entry.index
        if index is None:
            return
        terms = without(terms, entry.gone)
        index.reserve(0 if terms is None else len(terms))
        if max(len(terms or ()), len(vectors or ())) < MANY_ROWS and index.view.size < _MANY_MEMORIES:
            index.add(terms, vectors, embedder)
        else:
            await asyncio.to_thread(index.add, terms, vectors, embedder)
            index.forget(entry.gone)  # the thread may have added what was forgotten since it began
        index.set_states(
            {
                one.ordinal: State(pinned=one.pinned, importance=one.importance)
                for one in owned.values()
                if not one.has_terms and (one.pinned or one.importance is not None)
            }
        )
        if entry.index is index:
            entry.nbytes = index.nbytes

    async def take_out(self, driver: Any, user_id: str, ordinals: Collection[int]) -> Rewritten:
        """Within the caller's transaction: seals the touched segments anew, without these memories.

        The caller has the old slots destroyed (``retiring``), and calls ``forgotten`` after its commit.
        """
        user = await accounts.keys_of(driver, self.keys, user_id)
        await rows.lock(driver, user_id)
        return await self._store.take_out(driver, user_id, user, ordinals)

    def forgotten(self, user_id: str, ordinals: Collection[int]) -> None:
        """These are found no more, at once."""
        if (entry := self._entries.get(user_id)) is None:
            return
        entry.changes += 1
        entry.gone.update(ordinals)
        if entry.index is not None:
            entry.index.forget(ordinals)
        self._begin(self._settle(user_id, entry))

    def drop(self, user_id: str) -> None:
        """The user's index is gone, or has to be read anew."""
        if (entry := self._entries.get(user_id)) is not None:
            entry.changes, entry.drops = entry.changes + 1, entry.drops + 1
            entry.index, entry.nbytes = None, 0

    def used(self, user_id: str, message_ids: Sequence[str], at: datetime) -> None:
        """They stood in a prompt once more."""
        if (entry := self._entries.get(user_id)) is not None:
            entry.changes += 1
            if entry.index is not None:
                self._begin(self._count_use(user_id, entry.index, message_ids, at.timestamp()))

    def state_set(self, user_id: str, ordinal: int, pinned: bool, importance: float | None) -> None:
        """The user pinned it, or said how important it is (None: as it was judged)."""
        if (entry := self._entries.get(user_id)) is not None:
            entry.changes += 1
            if entry.index is not None:
                entry.index.choose(ordinal, pinned, importance)

    async def superseded(self, user_id: str) -> None:
        """Facts of the user changed: which memory tells otherwise than which is read anew."""
        if (entry := self._entries.get(user_id)) is None:
            return
        entry.changes += 1
        if entry.index is not None:
            async with self.database.plainly() as driver:
                pairs = await rows.newer(driver, user_id)
            if entry.index is not None:
                entry.index.set_newer(pairs)

    async def reload(self, user_id: str) -> None:
        """Reads the user's index anew, where it is in memory; searches go on in the old one meanwhile."""
        async with self._held(user_id) as entry:
            if entry.index is not None:
                await self._load(user_id, entry)

    async def warm(self) -> None:
        """Loads the indexes of those who said something last, as far as there is room."""
        try:
            async with self.database.plainly() as driver:
                users = await rows.recent_users(driver, _MOST_WARMED)
            for user_id in users:
                if self.nbytes * _ROOM_LEFT > self.budget_bytes:
                    return
                await self._opened(user_id)
        except ServiceError as error:
            log.warning("indexes_not_warmed", reason=error.code)

    def resize(self, budget_bytes: int) -> None:
        """From now on; what no longer fits is given up at once."""
        self.budget_bytes = budget_bytes
        self._make_room()

    @property
    def nbytes(self) -> int:
        """What all indexes take in memory."""
        return sum(entry.nbytes for entry in self._entries.values())

    async def settled(self) -> None:
        """Returns once everything that was begun is done."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def close(self) -> None:
        """Ends what was begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._beside.shutdown(wait=False, cancel_futures=True)

    def _entry(self, user_id: str) -> _Entry:
        entry = self._entries.setdefault(user_id, _Entry())
        self._entries.move_to_end(user_id)
        return entry

    async def _user(self, user_id: str) -> UserKeys:
        if (user := self.keys.cached(user_id)) is not None:
            return user
        async with self.database.plainly() as driver:
            return await accounts.keys_of(driver, self.keys, user_id)

    async def _opened(self, user_id: str) -> MemoryIndex:
        if (index := self._entry(user_id).index) is not None:
            return index
        async with self._held(user_id) as entry:
            index = entry.index or await self._brought(user_id, entry)
        self._make_room()
        return index

    async def _brought(self, user_id: str, entry: _Entry) -> MemoryIndex:
        begun = monotonic()
        index = await self._load(user_id, entry)
        if self.curve is not None:
            self.curve.brought(monotonic() - begun)
        return index

    @asynccontextmanager
    async def _held(self, user_id: str) -> AsyncIterator[_Entry]:
        """The user's entry, locked; one that was given up while we waited is not the user's any more."""
        while True:
            entry = self._entry(user_id)
            async with entry.lock:
                if self._entries.get(user_id) is entry:
                    yield entry
                    return

    async def _load(self, user_id: str, entry: _Entry) -> MemoryIndex:
        for attempt in count(1):
            changes, drops = entry.changes, entry.drops
            entry.gone.clear()
            index, lost = await self._read(user_id)
            # lost may be what was joined or sealed anew while it was read: only what stays lost is
            if (entry.changes == changes and not lost) or (entry.drops == drops and attempt >= _LOADS):
                break
        index.forget(entry.gone)
        entry.index, entry.nbytes = index, index.nbytes
        if lost:
            self._begin(self._give_up(user_id, index.embedder))
        if not index.settled:
            self._begin(self._settle(user_id, entry))
        return index

    async def _read(self, user_id: str) -> tuple[MemoryIndex, bool]:
        """The index as it is at rest, and whether pieces of it could not be opened."""
        async with self.database.plainly() as driver, driver.transaction(isolation="repeatable_read", readonly=True):
            user = await accounts.keys_of(driver, self.keys, user_id)
            counts = await rows.embedders(driver, user_id)
            embedder = chosen_embedder(counts, self.preferred)
            contents = await self._store.read(driver, user_id, user, embedder)
            states = await rows.states(driver, user_id)
            newer = await rows.newer(driver, user_id)
        index = await asyncio.to_thread(contents.as_index, embedder)
        index.set_states(states)
        index.set_newer(newer)
        return index, bool(contents.lost)

    async def _give_up(self, user_id: str, embedder: str | None) -> None:
        """Segments that no key opens: their memories are indexed anew."""
        async with self.database.writing() as driver:
            user = await accounts.keys_of(driver, self.keys, user_id)
            await rows.lock(driver, user_id)
            contents = await self._store.read(driver, user_id, user, embedder)
            lost = await self._store.give_up(driver, user_id, contents)
            for request in index_requests(user_id, lost, None, self.new_id):
                await rows.add_job(driver, request, self.clock())
        if contents.lost:
            log.error("segments_lost", segments=len(contents.lost), memories=len(lost))
            self.on_job()
        else:
            self.drop(user_id)  # they were only sealed anew while they were read

    async def _settle(self, user_id: str, entry: _Entry) -> None:
        async with entry.lock:
            entry.gone.clear()
            index = entry.index
            if index is not None and not index.settled:
                await asyncio.to_thread(index.settle)
                entry.nbytes = index.nbytes
            if index is not None and index.wasteful:
                await self._load(user_id, entry)

    async def _count_use(self, user_id: str, index: MemoryIndex, message_ids: Sequence[str], at: float) -> None:
        async with self.database.plainly() as driver:
            ordinals = await rows.ordinals_of(driver, user_id, message_ids)
        index.count_use(ordinals, at)

    def _merge_soon(self, user_id: str, entry: _Entry, *written: TermRows | VectorRows | None) -> None:
        entry.small += any(
            content is not None and segments.is_small(segments.tier_of(len(content))) for content in written
        )
        if entry.small >= segments.MERGED_AT_ONCE:
            entry.small = 0
            self._begin(self._merge(user_id, entry))

    async def _merge(self, user_id: str, entry: _Entry) -> None:
        async with self.database.writing() as driver:
            user = await accounts.keys_of(driver, self.keys, user_id)
            await rows.lock(driver, user_id)
            merged = await self._store.merge(driver, user_id, user)
            note = await retiring.retire(driver, user_id, merged.old_slots) if merged.old_slots else None
        entry.small += merged.waiting
        if note is not None:
            await retiring.destroy_retired(self.database, self.keys.slots, self.unused, note)

    def _make_room(self) -> None:
        total = self.nbytes
        for user_id in list(self._entries)[:-1]:
            if total <= self.budget_bytes and len(self._entries) <= _MOST_ENTRIES:
                return
            entry = self._entries[user_id]
            if not entry.lock.locked():
                total -= entry.nbytes
                del self._entries[user_id]

    def _begin(self, work_: Coroutine[Any, Any, None]) -> None:
        self._begun(_logged(work_))

    def _begun(self, work_: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work_)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _logged(work_: Coroutine[Any, Any, None]) -> None:
    try:
        await work_
    except ServiceError as error:
        log.warning("index_work_failed", reason=error.code)
    except Exception:
        log.exception("index_work_failed")


def chosen_embedder(counts: Mapping[str, int], preferred: str | None) -> str | None:
    """The embedder with the most vectors; of equally many the preferred one."""
    return max(counts, key=lambda embedder: (counts[embedder], embedder == preferred, embedder), default=None)
