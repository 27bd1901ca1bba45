"""Recalling: a question's terms and vector go to persistence, and what it finds comes back ranked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Position
from libs.shared.contracts.inference import Embeddings
from libs.shared.contracts.ledger import RuntimeSettings
from libs.shared.contracts.memory import FIND_CANDIDATES, FindCandidates, MemoryItem, MemoryItems, SearchMemory
from libs.shared.errors import NotYetApplied, ServiceError, TimedOut, Unavailable
from libs.shared.telemetry import get_logger, tracer
from libs.shared.text import query_terms
from services.cognition.embedding import Embedder
from services.cognition.measuring import measured
from services.cognition.patience import ask
from services.cognition.recall import Hit, distinct, fuse
from services.cognition.sessions import Sessions
from services.cognition.settings import CognitionSettings

QUESTION_CHARACTERS = 4000
"""Of a longer question the beginning is looked up: the embedder reads no more either."""
QUESTION_TERMS = 256
SPARE_S = 0.2
"""A replica's own timeout ends before the whole, so that its failure is reported."""
BRIEFLY_S = 1.0
NO_EMBEDDER = "no-embedder"

log = get_logger(__name__)


@dataclass(frozen=True)
class Recollection:
    """What was found, best first; ``degraded`` says which evidence was missing."""

    hits: tuple[Hit, ...] = ()
    degraded: str | None = None


@dataclass(frozen=True)
class Asked:
    """A question to a memory, and what of the answer is of use."""

    question: str
    read_after: Position | None
    least_score: float
    most: int
    """So many hits are wanted.

    On LoCoMo (760 questions) more than twenty candidates by each kind of evidence change nothing in the best ten.
    """


class Memory:
    """Searches one user's memory at a time; holds nothing of any user."""

    def __init__(
        self,
        bus: Bus,
        embedder: Embedder,
        sessions: Sessions,
        settings: CognitionSettings,
        in_force: Callable[[], RuntimeSettings],
    ) -> None:
        self._bus = bus
        self._embedder = embedder
        self._settings = settings
        self._in_force = in_force
        self._sessions = sessions
        self._embedder_missing = False

    async def search(self, request: SearchMemory) -> MemoryItems:
        """SEARCH_MEMORY."""
        position = request.read_after or await self._sessions.last(request.user_id)
        patience_s = self._settings.restart_patience_s
        asked = Asked(request.query, position, least_score=0.0, most=request.k)
        found = await self.recall(request.user_id, asked, patience_s=patience_s)
        return MemoryItems(
            items=tuple(_item(hit, explain=request.explain) for hit in found.hits[: request.k]),
            degraded=found.degraded,
        )

    async def recall_for_turn(
        self, user_id: str, question: str, read_after: Position | None, *, kept: bool
    ) -> Recollection | None:
        """What may stand in a prompt, each text once; None when the memory can't be reached.

        A turn that is to be kept waits for persistence anyway; another does better without memories than late.
        """
        settings = self._settings
        patience_s = settings.restart_patience_s if kept else min(settings.restart_patience_s, BRIEFLY_S)
        in_force = self._in_force()
        asked = Asked(question, read_after, least_score=in_force.recall_min_score, most=in_force.recall_k)
        try:
            with tracer.start_as_current_span("recall"):
                found = await self.recall(user_id, asked, patience_s=patience_s)
        except (NotYetApplied, TimedOut, Unavailable) as error:
            log.info("recall_failed", code=error.code)
            return None
        return Recollection(distinct(found.hits), found.degraded)

    async def recall(self, user_id: str, asked: Asked, *, patience_s: float) -> Recollection:
        """What fits the question. Raises what persistence raises; a missing embedder only degrades."""
        question = asked.question[:QUESTION_CHARACTERS].strip()
        if not question:
            return Recollection()
        terms = query_terms(question, QUESTION_TERMS)
        with measured("search_memory"):
            vectors = await self._vector(question)
            query = FindCandidates(
                user_id=user_id,
                terms=terms,
                vector=vectors.vectors[0] if vectors else None,
                embedder=vectors.embedder if vectors else None,
                limit=max(self._settings.recall_candidates, asked.most),
                read_after=asked.read_after,
            )
            found = await ask(self._bus, FIND_CANDIDATES, query, patience_s=patience_s)
        hits = fuse(found.candidates, self._in_force(), asked.least_score, terms)
        return Recollection(hits, None if vectors else NO_EMBEDDER)

    async def _vector(self, question: str) -> Embeddings | None:
        limit_s = self._settings.embed_query_s
        try:
            async with asyncio.timeout(limit_s + SPARE_S):
                found = await self._embedder.embed([question], timeout_s=limit_s)
        except (ServiceError, TimeoutError) as error:
            if not self._embedder_missing:
                code = error.code if isinstance(error, ServiceError) else "timed_out"
                log.warning("embedder_missing", code=code, effect="recall by terms alone")
            self._embedder_missing = True
            return None
        if self._embedder_missing:
            log.info("embedder_back", embedder=found.embedder)
        self._embedder_missing = False
        return found


def _item(hit: Hit, *, explain: bool) -> MemoryItem:
    found = hit.candidate
    return MemoryItem(
        id=found.message_id,
        text=found.text,
        score=hit.score,
        source_id=found.message_id,
        conversation_id=found.conversation_id,
        speaker=found.speaker,
        at=found.at,
        parts=hit.parts if explain else {},
    )
