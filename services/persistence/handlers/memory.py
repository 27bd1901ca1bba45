"""Indexing messages and finding candidates among them, always within one user."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Speaker, Vector
from libs.shared.contracts.memory import (
    Candidate,
    Candidates,
    FindCandidates,
    Indexed,
    IndexMessages,
    IndexRow,
    ReadUnindexed,
    UnindexedMessage,
    UnindexedMessages,
)
from libs.shared.errors import InvalidRequest
from services.persistence.handlers.turns import open_texts
from services.persistence.parts import Parts
from services.persistence.postings import pack
from services.persistence.repositories import accounts, index
from services.persistence.repositories.index import Statistics
from services.persistence.sealing import UserKeys
from services.persistence.tables import MessageRow


async def read_unindexed(request: ReadUnindexed, parts: Parts) -> UnindexedMessages:
    """Texts to index, each with the one before it."""
    async with parts.database.transaction() as session:
        rows = await index.read_messages(session, request.user_id, request.message_ids)
        if not rows:
            return UnindexedMessages(messages=())
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        known = {row.message_id for row in rows}
        before = {row.parent_id for row in rows if row.parent_id is not None} - known
        parents = await index.read_messages(session, request.user_id, before) if before else ()
    every = [*rows, *parents]
    opened = await open_texts(parts.keys, user, every)
    texts = {row.message_id: text for row, text in zip(every, opened, strict=True)}
    return UnindexedMessages(
        messages=tuple(_unindexed(row, texts) for row in rows if texts[row.message_id] is not None)
    )


def _unindexed(row: MessageRow, texts: Mapping[str, str | None]) -> UnindexedMessage:
    text = texts[row.message_id]
    assert text is not None
    return UnindexedMessage(
        message_id=row.message_id,
        speaker=Speaker(row.speaker),
        text=text,
        previous_text=texts.get(row.parent_id) if row.parent_id else None,
        at=row.at,
    )


async def index_messages(request: IndexMessages, parts: Parts) -> Indexed:
    """Makes messages searchable; what is there already is left as it is."""
    vectors = {row.message_id: row.vector for row in request.rows if row.vector is not None}
    dimensions = _checked_dimensions(request.embedder, vectors)
    if any(frequency < 1 for row in request.rows for frequency in row.terms.values()):
        raise InvalidRequest("a term occurs at least once", errors=["rows"])
    rows = {row.message_id: row for row in request.rows}
    async with parts.database.transaction() as session:
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        statistics = await index.lock_statistics(session, request.user_id)
        owned = await index.conversations_of(session, request.user_id, list(rows))
        done = await index.indexed(session, list(owned))
        fresh = [rows[message_id] for message_id in rows if message_id in owned and message_id not in done]
        await _add_terms(session, request.user_id, fresh, owned, statistics, user)
        if request.embedder is not None and vectors:
            await _refuse_other_dimensions(session, request.user_id, request.embedder, dimensions)
            await index.add_embeddings(session, _embedding_rows(request, owned))
    return Indexed(count=len(owned))


def _checked_dimensions(embedder: str | None, vectors: Mapping[str, Vector]) -> int:
    if vectors and embedder is None:
        raise InvalidRequest("vectors need the name of their embedder", errors=["embedder"])
    sizes = {len(vector) for vector in vectors.values()}
    if len(sizes) > 1 or any(size % 4 or not size for size in sizes):
        raise InvalidRequest("vectors are float32 values, all of one length", errors=["rows"])
    return sizes.pop() // 4 if sizes else 0


async def _refuse_other_dimensions(session: AsyncSession, user_id: str, embedder: str, dimensions: int) -> None:
    known = await index.dimensions_of(session, user_id, embedder)
    if known not in (None, dimensions):
        raise InvalidRequest(f"this embedder's vectors have {known} dimensions", errors=["rows"])


async def _add_terms(
    session: AsyncSession,
    user_id: str,
    rows: Sequence[IndexRow],
    owned: Mapping[str, str],
    statistics: Statistics,
    user: UserKeys,
) -> None:
    if not rows:
        return
    documents: list[dict[str, object]] = []
    added: dict[bytes, list[tuple[int, int, int]]] = {}
    tokens = 0
    for number, row in enumerate(rows, start=statistics.next_number):
        length = sum(row.terms.values())
        tokens += length
        documents.append(
            {
                "message_id": row.message_id,
                "user_id": user_id,
                "conversation_id": owned[row.message_id],
                "number": number,
                "length": length,
            }
        )
        for term, frequency in row.terms.items():
            added.setdefault(user.hash_term(term), []).append((number, frequency, length))
    await index.add_documents(session, documents)
    await index.add_postings(session, user_id, {term: pack(postings) for term, postings in added.items()})
    grown = Statistics(statistics.documents + len(rows), statistics.tokens + tokens, statistics.next_number + len(rows))
    await index.write_statistics(session, user_id, grown)


def _embedding_rows(request: IndexMessages, owned: Mapping[str, str]) -> list[dict[str, object]]:
    return [
        {
            "message_id": row.message_id,
            "embedder": request.embedder,
            "user_id": request.user_id,
            "conversation_id": owned[row.message_id],
            "dimensions": len(row.vector) // 4,
            "vector": row.vector,
        }
        for row in request.rows
        if row.vector is not None and row.message_id in owned
    ]


@dataclass(frozen=True)
class _Evidence:
    """Scores by message."""

    bm25: dict[str, float]
    cosine: dict[str, float]


async def find_candidates(request: FindCandidates, parts: Parts) -> Candidates:
    """The best by terms and the best by vector, each with both scores and its text."""
    if request.vector is not None and request.embedder is None:
        raise InvalidRequest("a vector needs the name of its embedder", errors=["embedder"])
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.transaction() as session:
        user = await accounts.user_keys(session, parts.keys, request.user_id)
        evidence = await _gather(session, request, user)
        found = {*evidence.bm25, *evidence.cosine}
        rows = await index.read_messages(session, request.user_id, found) if found else ()
    texts = await open_texts(parts.keys, user, rows)
    return Candidates(
        candidates=tuple(
            _candidate(row, text, evidence) for row, text in zip(rows, texts, strict=True) if text is not None
        )
    )


async def _gather(session: AsyncSession, request: FindCandidates, user: UserKeys) -> _Evidence:
    cosine: dict[str, float] = {}
    if request.vector and request.embedder:
        cosine = await index.nearest(
            session, request.user_id, request.embedder, request.vector, request.limit, request.not_in_conversation
        )
    bm25 = await _score_terms(session, request, user, set(cosine)) if request.terms else {}
    if request.vector and request.embedder and (rest := bm25.keys() - cosine.keys()):
        cosine |= await index.cosines(session, request.user_id, request.embedder, request.vector, rest)
    return _Evidence(bm25, cosine)


async def _score_terms(
    session: AsyncSession, request: FindCandidates, user: UserKeys, others: set[str]
) -> dict[str, float]:
    """BM25 of the best by terms, and of ``others`` that are indexed."""
    from services.persistence import scoring  # numpy is loaded with the first search

    statistics = await index.read_statistics(session, request.user_id)
    postings = await index.read_postings(session, request.user_id, set(user.hash_terms(request.terms)))
    excluded: list[int] = []
    if request.not_in_conversation is not None:
        excluded = await index.numbers_in(session, request.user_id, request.not_in_conversation)
    scores = await asyncio.to_thread(scoring.bm25, postings, documents=statistics.documents, tokens=statistics.tokens)
    numbers = await index.by_number(session, request.user_id, scores.best(request.limit, excluded))
    if others:
        numbers |= await index.by_message(session, request.user_id, others)
    return {message_id: scores.of(number) for message_id, number in numbers.items()}


def _candidate(row: MessageRow, text: str, evidence: _Evidence) -> Candidate:
    return Candidate(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        speaker=Speaker(row.speaker),
        text=text,
        at=row.at,
        bm25=evidence.bm25.get(row.message_id),
        cosine=evidence.cosine.get(row.message_id),
    )
