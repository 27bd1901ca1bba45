"""Finding candidates for a question within one user's memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.memory import Candidate, Candidates, FindCandidates
from libs.shared.errors import InvalidRequest
from services.persistence.handlers.turns import open_texts
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, search
from services.persistence.repositories.search import Evidence, Found, Query

if TYPE_CHECKING:
    from services.persistence.scoring import Scores

_MANY_BYTES = 256 * 1024
"""Postings from so many bytes on are worth a thread."""


async def find_candidates(request: FindCandidates, parts: Parts) -> Candidates:
    """The best by terms and the best by vector, each with both scores and its text; what was just said beside them."""
    if request.vector is not None and request.embedder is None:
        raise InvalidRequest("a vector needs the name of its embedder", errors=["embedder"])
    await parts.watermark.wait_for(request.read_after)
    query = Query(request.user_id, request.vector or None, request.embedder, request.not_in_conversation)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        evidence = await search.evidence(driver, query, user.hash_terms(request.terms), request.limit)
        scores = await _score_terms(evidence) if request.terms else None
        numbers = {*evidence.nearest, *await _best(driver, request, scores)}
        rows = await search.found(driver, query, numbers)
    texts = await open_texts(parts.keys, user, rows)
    return Candidates(
        candidates=tuple(
            _candidate(row, text, scores) for row, text in zip(rows, texts, strict=True) if text is not None
        )
    )


async def _score_terms(evidence: Evidence) -> Scores:
    size = sum(len(block) for blocks in evidence.postings.values() for block in blocks)
    return await asyncio.to_thread(_scores, evidence) if size > _MANY_BYTES else _scores(evidence)


def _scores(evidence: Evidence) -> Scores:
    from services.persistence import scoring  # numpy is loaded with the first search

    return scoring.bm25(evidence.postings, documents=evidence.documents, tokens=evidence.tokens)


async def _best(driver: Any, request: FindCandidates, scores: Scores | None) -> list[int]:
    if scores is None:
        return []
    left_out: list[int] = []
    if request.not_in_conversation is not None:
        left_out = await search.numbers_in(driver, request.user_id, request.not_in_conversation)
    return scores.best(request.limit, left_out)


def _candidate(row: Found, text: str, scores: Scores | None) -> Candidate:
    return Candidate(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        speaker=Speaker(row.speaker),
        text=text,
        at=row.at,
        bm25=None if scores is None or row.number is None else scores.of(row.number),
        cosine=row.cosine,
        indexed=row.number is not None,
    )
