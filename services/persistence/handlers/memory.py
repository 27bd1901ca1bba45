"""Indexing messages, always within one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from libs.shared.contracts.common import Speaker, Vector
from libs.shared.contracts.memory import (
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
from services.persistence.repositories import accounts, index, work
from services.persistence.repositories.index import Entries, Owned, Statistics, Unindexed
from services.persistence.sealing import UserKeys


async def read_unindexed(request: ReadUnindexed, parts: Parts) -> UnindexedMessages:
    """Texts to index, each with the one before it."""
    async with parts.database.plainly() as driver:
        rows = await index.read_unindexed(driver, request.user_id, request.message_ids)
        if not rows:
            return UnindexedMessages(messages=())
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    # a message and its forerunner are often both to be indexed: each text is opened once
    sealed = {row.message.message_id: row.message for row in rows}
    sealed |= {row.previous.message_id: row.previous for row in rows if row.previous}
    opened = await open_texts(parts.keys, user, list(sealed.values()))
    texts = dict(zip(sealed, opened, strict=True))
    return UnindexedMessages(
        messages=tuple(
            _unindexed(row, text, texts) for row in rows if (text := texts[row.message.message_id]) is not None
        )
    )


def _unindexed(row: Unindexed, text: str, texts: Mapping[str, str | None]) -> UnindexedMessage:
    return UnindexedMessage(
        message_id=row.message.message_id,
        speaker=Speaker(row.speaker),
        text=text,
        previous_text=texts[row.previous.message_id] if row.previous else None,
        at=row.at,
    )


async def index_messages(request: IndexMessages, parts: Parts) -> Indexed:
    """Makes messages searchable; what is there already is left as it is."""
    vectors = {row.message_id: row.vector for row in request.rows if row.vector is not None}
    dimensions = _checked_dimensions(request.embedder, vectors)
    if any(frequency < 1 for row in request.rows for frequency in row.terms.values()):
        raise InvalidRequest("a term occurs at least once", errors=["rows"])
    rows = {row.message_id: row for row in request.rows}
    count = 0
    async with parts.database.writing() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        if rows:
            statistics = await index.lock_statistics(driver, request.user_id)
            owned = await index.owned(driver, request.user_id, list(rows), request.embedder)
            if vectors and owned.dimensions not in (None, dimensions):
                raise InvalidRequest(f"this embedder's vectors have {owned.dimensions} dimensions", errors=["rows"])
            await _write(driver, request, dimensions, list(rows.values()), owned, statistics, user)
            count = len(owned.conversations)
        if request.done_jobs:
            await work.finish_jobs(driver, request.user_id, request.done_jobs, parts.clock())
    if request.done_jobs and vectors:
        parts.indexing.last_vectors_at = parts.clock()
    return Indexed(count=count)


def _checked_dimensions(embedder: str | None, vectors: Mapping[str, Vector]) -> int:
    if vectors and embedder is None:
        raise InvalidRequest("vectors need the name of their embedder", errors=["embedder"])
    sizes = {len(vector) for vector in vectors.values()}
    if len(sizes) > 1 or any(size % 4 or not size for size in sizes):
        raise InvalidRequest("vectors are float32 values, all of one length", errors=["rows"])
    return sizes.pop() // 4 if sizes else 0


async def _write(
    driver: Any,
    request: IndexMessages,
    dimensions: int,
    rows: Sequence[IndexRow],
    owned: Owned,
    statistics: Statistics,
    user: UserKeys,
) -> None:
    fresh = [row for row in rows if row.message_id in owned.conversations and row.message_id not in owned.indexed]
    entries = Entries()
    added: dict[bytes, list[tuple[int, int, int]]] = {}
    for number, row in enumerate(fresh, start=statistics.next_number):
        length = sum(row.terms.values())
        entries.documents.append((row.message_id, owned.conversations[row.message_id], number, length))
        for term, frequency in row.terms.items():
            added.setdefault(user.hash_term(term), []).append((number, frequency, length))
    packed = {term: pack(postings) for term, postings in added.items()}
    entries.blocks = await index.grown_blocks(driver, request.user_id, packed)
    entries.vectors = [
        (row.message_id, owned.conversations[row.message_id], row.vector)
        for row in rows
        if row.vector is not None and row.message_id in owned.conversations
    ]
    tokens = statistics.tokens + sum(length for _, _, _, length in entries.documents)
    grown = Statistics(statistics.documents + len(fresh), tokens, statistics.next_number + len(fresh))
    await index.write(driver, request.user_id, request.embedder, dimensions, entries, grown)
