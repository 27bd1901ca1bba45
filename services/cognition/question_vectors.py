"""Vectors of questions: made by whichever node embeds, kept for a moment, done without when none does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b

from libs.shared.cache import TtlCache
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.embedding import Embedder

SPARE_S = 0.2
"""A replica's own timeout ends before the whole, so that its failure is reported."""
KEPT_S = 300.0
MOST_QUESTIONS = 2000
BACKGROUND_S = 10.0
"""Of a question that is prepared: it waits until others are served."""

log = get_logger(__name__)


@dataclass(frozen=True)
class QuestionVector:
    """A vector, and whose question it is of: it goes when that user's memory changes."""

    user_id: str
    embedder: str
    vector: bytes


class QuestionVectors:
    """Bounded; a question is known by a hash."""

    def __init__(self, embedder: Embedder, limit_s: float) -> None:
        self._embedder = embedder
        self._limit_s = limit_s
        self._kept: TtlCache[bytes, QuestionVector] = TtlCache("embeddings", max_entries=MOST_QUESTIONS, ttl_s=KEPT_S)
        self._missing = False

    async def of(self, user_id: str, text: str, embedder: str | None) -> QuestionVector | None:
        """The question's vector by ``embedder`` (None: any); None when it can't be had in time."""
        key = _key(user_id, text, embedder)
        try:
            found = await self._kept.get(key, lambda: self._embed(user_id, text, embedder))
        except (ServiceError, TimeoutError) as error:
            if not self._missing:
                code = error.code if isinstance(error, ServiceError) else "timed_out"
                log.warning("embedder_missing", code=code, effect="recall by terms alone")
            self._missing = True
            return None
        if self._missing:
            log.info("embedder_back", embedder=found.embedder)
        self._missing = False
        return found

    async def prepare(self, user_id: str, text: str, embedder: str, seconds: float) -> None:
        """Makes the vector while nobody waits for it, and keeps it for so long, unless the memory changes.

        Raises ServiceError; Preempted when somebody else came.
        """
        key = _key(user_id, text, embedder)

        async def made() -> tuple[QuestionVector, float]:
            return await self._embed(user_id, text, embedder, background=True), seconds

        self._kept.discard(key)
        await self._kept.get_for(key, made)

    async def _embed(
        self, user_id: str, text: str, embedder: str | None, *, background: bool = False
    ) -> QuestionVector:
        limit_s = BACKGROUND_S if background else self._limit_s
        async with asyncio.timeout(limit_s + SPARE_S):
            made = await self._embedder.embed(
                [text], embedder=embedder, purpose="query", timeout_s=limit_s, background=background
            )
        return QuestionVector(user_id, made.embedder, made.vectors[0])

    def changed(self, user_id: str) -> None:
        """The user's memory is another now: nothing that was derived of it stays."""
        self._kept.discard_where(lambda kept: kept.user_id == user_id)


def _key(user_id: str, text: str, embedder: str | None) -> bytes:
    return blake2b("\0".join((user_id, embedder or "", text)).encode(errors="replace"), digest_size=16).digest()
