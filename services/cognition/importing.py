"""What comes into the memory from outside a conversation: imported turns, notes and edits, answered once searchable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from weakref import WeakValueDictionary

from libs.shared.bus.base import Bus
from libs.shared.contracts.keeping import (
    KEEP_NOTE,
    KEEP_TURNS,
    REWRITE_MEMORY,
    KeepNote,
    KeepTurns,
    KeptMemories,
    RewriteMemory,
)
from libs.shared.contracts.memory import (
    AddMemory,
    EditMemory,
    Imported,
    ImportTurns,
    MemoryItem,
)
from libs.shared.errors import InvalidRequest, Overloaded
from services.cognition.admissible import check_time, checked_text, checked_turns
from services.cognition.extraction.reading import ModelReading
from services.cognition.patience import ask
from services.cognition.searchable import Outcome, Portions, Searchable, Wanted, of_kept

NO_EMBEDDER = "no-embedder"
AT_ONCE = 2
"""Imports of all users together: the embedder has its batches ready, and no more texts lie in memory."""
WAITING = 16
"""Imports that wait for their turn; more are refused."""
WAIT_S = 120.0
VECTORS_S = 140.0
"""Texts that have no vector after so long are answered as searchable by their words: the caller waits 280 s at most."""
PORTIONS = Portions(embed=32, write=256)
RETRY_AFTER_S = 15.0


@dataclass(frozen=True)
class Kept:
    """What persistence kept, searchable."""

    memories: KeptMemories
    outcome: Outcome

    @property
    def degraded(self) -> str | None:
        return None if self.outcome.failure is None else NO_EMBEDDER


class Admission:
    """A bounded number of long writes at a time, and one of a user: two would wait for each other's rows."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._of_user: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._room = at_once + waiting
        self._wait_s = wait_s

    @asynccontextmanager
    async def entered(self, user_id: str) -> AsyncIterator[None]:
        """The block has a place. Raises Overloaded."""
        if self._room <= 0:
            raise Overloaded("too much is being imported", retry_after_s=RETRY_AFTER_S)
        lock = self._of_user.setdefault(user_id, asyncio.Lock())
        self._room -= 1
        try:
            await self._enter(lock)
            try:
                yield
            finally:
                self._free.release()
                lock.release()
        finally:
            self._room += 1

    async def _enter(self, lock: asyncio.Lock) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await lock.acquire()
                try:
                    await self._free.acquire()
                except BaseException:
                    lock.release()
                    raise
        except TimeoutError:
            raise Overloaded("too much is being imported", retry_after_s=RETRY_AFTER_S) from None


class Importer:
    """Answers IMPORT_TURNS, ADD_MEMORY and EDIT_MEMORY.

    What was kept has index jobs from the beginning: if this process ends half way, they are offered again.
    """

    def __init__(
        self,
        bus: Bus,
        searchable: Searchable,
        clock: Callable[[], datetime],
        *,
        patience_s: float,
        admission: Admission | None = None,
        reading: ModelReading | None = None,
    ) -> None:
        self._bus = bus
        self._searchable = searchable
        self._clock = clock
        self._patience_s = patience_s
        self._admission = admission or Admission()
        self._reading = reading

    async def import_turns(self, request: ImportTurns) -> Imported:
        """All of them are kept, or none. Raises InvalidRequest (naming the turn), Overloaded."""
        turns = checked_turns(request.turns, self._clock())
        async with self._admission.entered(request.user_id):
            question = KeepTurns(user_id=request.user_id, turns=turns)
            memories = await ask(self._bus, KEEP_TURNS, question, patience_s=self._patience_s)
            kept = await self.make_searchable(request.user_id, memories)
        imported = len(memories.items)
        return Imported(imported=imported, present=len(request.turns) - imported, degraded=kept.degraded)

    async def add(self, request: AddMemory) -> MemoryItem:
        """A note. Asked once: a second asking would keep it twice."""
        text = checked_text(request.text)
        if request.at is not None:
            check_time(request.at, self._clock())
        note = KeepNote(
            user_id=request.user_id, text=text, at=request.at, pinned=request.pinned, importance=request.importance
        )
        return await self._one(request.user_id, await self._bus.request(KEEP_NOTE, note))

    async def edit(self, request: EditMemory) -> MemoryItem:
        """Raises MemoryNotFound, InvalidRequest."""
        if request.text is None and request.pinned is None and request.importance is None:
            raise InvalidRequest("nothing to change", errors=["text", "pinned", "importance"])
        text = None if request.text is None else checked_text(request.text)
        edit = RewriteMemory(
            user_id=request.user_id,
            id=request.id,
            text=text,
            pinned=request.pinned,
            importance=request.importance,
        )
        return await self._one(request.user_id, await self._bus.request(REWRITE_MEMORY, edit))

    async def make_searchable(self, user_id: str, memories: KeptMemories) -> Kept:
        """Terms, vectors and facts of what was kept; its index jobs end with them, unless a model is to read it too."""
        if not memories.job_ids:
            return Kept(memories, Outcome())
        read_later = self._reading is not None and self._reading.wanted
        wanted = Wanted(
            user_id=user_id,
            embedder=memories.embedder,
            jobs=() if read_later else memories.job_ids,
            background=False,
            vectors_by=monotonic() + VECTORS_S,
        )
        outcome = await self._searchable.make(of_kept(memories), wanted, PORTIONS)
        return Kept(memories, outcome)

    async def _one(self, user_id: str, memories: KeptMemories) -> MemoryItem:
        kept = await self.make_searchable(user_id, memories)
        (item,) = memories.items
        drawn = tuple(fact for fact in kept.outcome.facts if item.id in fact.sources)
        return item.model_copy(update={"facts": drawn}) if drawn else item
