"""Making kept messages searchable: their terms at once, their vectors as soon as something embeds."""

from __future__ import annotations

from collections.abc import Sequence

from libs.shared.bus.base import Bus, Delivery
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.jobs import FINISH_JOB, FinishJob, JobState
from libs.shared.contracts.memory import (
    INDEX_MESSAGES,
    READ_UNINDEXED,
    IndexMessages,
    IndexRequested,
    IndexRow,
    ReadUnindexed,
    UnindexedMessage,
)
from libs.shared.errors import ServiceError
from libs.shared.extractive import is_extractive
from libs.shared.telemetry import get_logger
from libs.shared.text import term_counts
from services.cognition.embedding import Embedder
from services.cognition.measuring import measured

CONTEXT_CHARACTERS = 300
"""Of the turn before, its end: an embedder reads about a thousand characters, and most are the message's own."""
TEXT_CHARACTERS = 4000
READ_AT_ONCE = 1000

log = get_logger(__name__)


def embedding_text(message: UnindexedMessage) -> str:
    """The text with the end of the turn before it: short replies mean little alone. Pure.

    On LoCoMo (759 questions) the context raises any-evidence recall at 10 from 0.735 to 0.744 beside these terms.
    """
    text = message.text[:TEXT_CHARACTERS]
    return f"{message.previous_text[-CONTEXT_CHARACTERS:]}\n{text}" if message.previous_text else text


def is_memorable(message: UnindexedMessage) -> bool:
    """Whether a message may be recalled: a quotation of memories would only repeat them. Pure."""
    return bool(message.text.strip()) and not (message.speaker is Speaker.ASSISTANT and is_extractive(message.text))


class Indexer:
    """Consumes INDEX_REQUESTED. Idempotent: persistence replaces rows of the same message and embedder."""

    def __init__(self, bus: Bus, embedder: Embedder, batch: int) -> None:
        self._bus = bus
        self._embedder = embedder
        self._batch = batch

    async def index(self, delivery: Delivery[IndexRequested]) -> None:
        """Raises, for another delivery, when something is away; the last one reports the job as failed."""
        try:
            await self._index(delivery.message)
        except ServiceError as error:
            if not delivery.last_attempt:
                raise
            log.warning("indexing_failed", job_id=delivery.message_id, code=error.code)
            await self._finish(delivery.message_id, JobState.FAILED, error.code)
            return
        await self._finish(delivery.message_id, JobState.DONE, None)

    async def _index(self, request: IndexRequested) -> None:
        ids = request.message_ids
        for start in range(0, len(ids), READ_AT_ONCE):
            question = ReadUnindexed(user_id=request.user_id, message_ids=ids[start : start + READ_AT_ONCE])
            found = await self._bus.request(READ_UNINDEXED, question)
            messages = [m for m in found.messages if is_memorable(m)]
            for first in range(0, len(messages), self._batch):
                await self._index_batch(request.user_id, messages[first : first + self._batch])

    async def _index_batch(self, user_id: str, messages: Sequence[UnindexedMessage]) -> None:
        try:
            with measured("embeddings"):
                made = await self._embedder.embed([embedding_text(m) for m in messages])
        except ServiceError:
            # found by its words meanwhile; the vector comes with another delivery
            rows = tuple(IndexRow(message_id=m.message_id, terms=term_counts(m.text)) for m in messages)
            await self._bus.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=None, rows=rows))
            raise
        rows = tuple(
            IndexRow(message_id=m.message_id, terms=term_counts(m.text), vector=vector)
            for m, vector in zip(messages, made.vectors, strict=True)
        )
        await self._bus.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=made.embedder, rows=rows))

    async def _finish(self, job_id: str, state: JobState, error: str | None) -> None:
        await self._bus.request(FINISH_JOB, FinishJob(job_id=job_id, state=state, error=error))
