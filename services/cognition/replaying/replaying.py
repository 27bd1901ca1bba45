"""REPLAY_ASKED: each question of a page is read and searched again, and its evidence told in numbers."""

from __future__ import annotations

import asyncio
from datetime import UTC

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.memory import MemoryChanged
from libs.shared.contracts.recall import FIND_CANDIDATES, READ_MEMORIES, Candidates, FindCandidates, ReadMemories
from libs.shared.contracts.replay import READ_ASKED, AskedTurn, Evidence, ReadAsked, ReplayAsked, Replayed
from libs.shared.contracts.scheduling import LIST_MODELS
from libs.shared.errors import Overloaded, Preempted, ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.embedding import Embedder
from services.cognition.memory import QUESTION_CHARACTERS, intervals
from services.cognition.profiles import KnownProfile, Profiles
from services.cognition.prompt import budget
from services.cognition.question import Question, read
from services.cognition.recall import found_in
from services.cognition.replaying.evidence import as_it_was, evidence_of
from services.cognition.traffic import Traffic

CANDIDATES = 96
"""By each kind of evidence: more than a live search takes, since what was told later is left out afterwards."""
EMBED_S = 10.0
PATIENCE_S = 5.0
ATTEMPTS = 3
LONGEST_PAUSE_S = 20.0

log = get_logger(__name__)


class Replayer:
    """Lets everybody who waits for an answer go first; of users it keeps what the cache of profiles keeps."""

    def __init__(self, bus: Bus, embedder: Embedder, traffic: Traffic) -> None:
        self._bus = bus
        self._embedder = embedder
        self._traffic = traffic
        self._profiles = Profiles(bus)

    async def changed(self, event: MemoryChanged) -> None:
        """MEMORY_CHANGED."""
        self._profiles.changed(event.user_id)

    async def replay(self, request: ReplayAsked) -> Replayed:
        """A page. A question that can't be looked up now is passed over."""
        query = ReadAsked(cursor=request.cursor, limit=request.limit, since=request.since)
        page = await self._bus.request(READ_ASKED, query)
        room_tokens = await self._room_tokens() if page.asked else 0
        looked_up = [await self._one(asked, room_tokens) for asked in page.asked]
        found = tuple(one for one in looked_up if one is not None)
        passed_over = len(page.asked) - sum(bool(one.relevant) for one in found)
        log.info("asked_replayed", questions=len(found), passed_over=passed_over)
        return Replayed(evidence=found, passed_over=passed_over, next_cursor=page.next_cursor)

    async def _room_tokens(self) -> int:
        """What a prompt may take of the model that answers those who name none; 0 where nobody knows it now."""
        try:
            told = await self._bus.request(LIST_MODELS, Empty())
        except ServiceError:
            return 0
        name = told.default_chat or ""
        model = next((one for one in told.models if name == one.name or name.startswith(f"{one.name}:")), None)
        return budget(model, None) if model is not None else 0

    async def _one(self, asked: AskedTurn, room_tokens: int) -> Evidence | None:
        """None where it can't be looked up now, or was made way for again and again."""
        for _ in range(ATTEMPTS):
            if self._traffic.busy:
                await self._traffic.give_way(LONGEST_PAUSE_S)
            try:
                return await self._looked_up(asked, room_tokens)
            except (Preempted, Overloaded):
                self._traffic.announced()
            except (ServiceError, TimeoutError) as error:
                log.info("question_not_replayed", code=error.code if isinstance(error, ServiceError) else "timed_out")
                return None
        return None

    async def _looked_up(self, asked: AskedTurn, room_tokens: int) -> Evidence:
        profile = await self._profiles.of(asked.user_id, patience_s=PATIENCE_S)
        question = read(asked.question[:QUESTION_CHARACTERS].strip(), profile.names, asked.at.astimezone(UTC))
        columns = await self._found(asked, question, profile)
        return await self._evidence(asked, question, columns, room_tokens)

    async def _found(self, asked: AskedTurn, question: Question, profile: KnownProfile) -> Candidates:
        vector = None
        if profile.embedder is not None:
            made = await self._embedder.embed(
                [question.text], embedder=profile.embedder, purpose="query", timeout_s=EMBED_S, background=True
            )
            vector = made.vectors[0]
        query = FindCandidates(
            user_id=asked.user_id,
            terms=question.terms,
            vector=vector,
            embedder=profile.embedder,
            limit=CANDIDATES,
            intervals=intervals(question.times, asked.at.timestamp()),
            background=True,
        )
        return await self._bus.request(FIND_CANDIDATES, query)

    async def _evidence(self, asked: AskedTurn, question: Question, columns: Candidates, room_tokens: int) -> Evidence:
        rows = [one for one in found_in(columns, question.terms) if one.fresh is None]
        wanted = ReadMemories(user_id=asked.user_id, ordinals=tuple(one.ordinal for one in rows))
        brought = await self._bus.request(READ_MEMORIES, wanted)
        items = dict(zip(brought.ordinals, brought.items, strict=True))
        known = as_it_was(rows, items, asked.conversation_id, asked.at.timestamp())
        texts = [items[one.ordinal].text for one in known]
        return await asyncio.to_thread(evidence_of, asked, question, known, texts, columns.whole_bm25, room_tokens)
