"""The index of one user's messages: documents, posting blocks, vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.persistence.postings import Block, append
from services.persistence.tables import (
    DocumentRow,
    EmbeddingRow,
    MessageRow,
    PostingBlockRow,
    StatisticsRow,
)
from services.persistence.tables.base import VectorType, among

_BLOCKS_A_READ = 500
_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True)
class Statistics:
    """What BM25 needs of one user's documents."""

    documents: int = 0
    tokens: int = 0
    next_number: int = 0


async def lock_statistics(session: AsyncSession, user_id: str) -> Statistics:
    """Holds off other changes of the user's index until the commit."""
    await session.execute(
        upsert(StatisticsRow).values(user_id=user_id, documents=0, tokens=0, next_number=0).on_conflict_do_nothing()
    )
    columns = (StatisticsRow.documents, StatisticsRow.tokens, StatisticsRow.next_number)
    row = (await session.execute(select(*columns).where(StatisticsRow.user_id == user_id).with_for_update())).one()
    return Statistics(*row)


async def read_statistics(session: AsyncSession, user_id: str) -> Statistics:
    """Zeros for a user without an index."""
    columns = (StatisticsRow.documents, StatisticsRow.tokens, StatisticsRow.next_number)
    row = (await session.execute(select(*columns).where(StatisticsRow.user_id == user_id))).one_or_none()
    return Statistics() if row is None else Statistics(*row)


async def write_statistics(session: AsyncSession, user_id: str, statistics: Statistics) -> None:
    """Replaces the locked row's figures."""
    await session.execute(
        update(StatisticsRow)
        .where(StatisticsRow.user_id == user_id)
        .values(documents=statistics.documents, tokens=statistics.tokens, next_number=statistics.next_number)
        .execution_options(**_UNSYNCHRONISED)
    )


async def conversations_of(session: AsyncSession, user_id: str, message_ids: Collection[str]) -> dict[str, str]:
    """Message → conversation, for those of the user's messages that still exist."""
    statement = select(MessageRow.message_id, MessageRow.conversation_id)
    found = await session.execute(
        statement.where(among(MessageRow.message_id, message_ids), MessageRow.user_id == user_id)
    )
    return {row[0]: row[1] for row in found}


async def indexed(session: AsyncSession, message_ids: Collection[str]) -> set[str]:
    """Those whose terms are indexed."""
    statement = select(DocumentRow.message_id).where(among(DocumentRow.message_id, message_ids))
    return set((await session.scalars(statement)).all())


async def add_documents(session: AsyncSession, rows: Sequence[Mapping[str, object]]) -> None:
    """Documents under their numbers."""
    if rows:
        await session.execute(insert(DocumentRow), rows)


async def add_postings(session: AsyncSession, user_id: str, added: Mapping[bytes, bytes]) -> None:
    """Appends packed postings to each term's blocks."""
    last = await _last_blocks(session, user_id, list(added))
    rows = [
        {"user_id": user_id, "term": term, "block": b.block, "count": b.count, "postings": b.postings}
        for term in sorted(added)
        for b in append(last.get(term), added[term])
    ]
    if rows:
        statement = upsert(PostingBlockRow)
        fresh = {"count": statement.excluded.count, "postings": statement.excluded.postings}
        keys = [PostingBlockRow.user_id, PostingBlockRow.term, PostingBlockRow.block]
        await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh), rows)


async def _last_blocks(session: AsyncSession, user_id: str, terms: Sequence[bytes]) -> dict[bytes, Block]:
    last = (
        select(PostingBlockRow.term, func.max(PostingBlockRow.block).label("block"))
        .where(PostingBlockRow.user_id == user_id, among(PostingBlockRow.term, terms))
        .group_by(PostingBlockRow.term)
        .subquery()
    )
    statement = (
        select(PostingBlockRow.term, PostingBlockRow.block, PostingBlockRow.postings)
        .join(last, (PostingBlockRow.term == last.c.term) & (PostingBlockRow.block == last.c.block))
        .where(PostingBlockRow.user_id == user_id)
    )
    return {term: Block(block, postings) for term, block, postings in await session.execute(statement)}


async def read_postings(session: AsyncSession, user_id: str, terms: Collection[bytes]) -> dict[bytes, list[bytes]]:
    """The packed postings of each term that the user's index has."""
    statement = select(PostingBlockRow.term, PostingBlockRow.postings).where(
        PostingBlockRow.user_id == user_id, among(PostingBlockRow.term, terms)
    )
    found: dict[bytes, list[bytes]] = {}
    for term, postings in await session.execute(statement):
        found.setdefault(term, []).append(postings)
    return found


async def add_embeddings(session: AsyncSession, rows: Sequence[Mapping[str, object]]) -> int:
    """Vectors that aren't there yet; how many were written."""
    if not rows:
        return 0
    statement = upsert(EmbeddingRow).values(rows).on_conflict_do_nothing().returning(EmbeddingRow.message_id)
    return len((await session.execute(statement)).all())


async def dimensions_of(session: AsyncSession, user_id: str, embedder: str) -> int | None:
    """What the embedder's vectors have; None before the first."""
    statement = select(EmbeddingRow.dimensions).where(
        EmbeddingRow.user_id == user_id, EmbeddingRow.embedder == embedder
    )
    found: int | None = await session.scalar(statement.limit(1))
    return found


async def nearest(
    session: AsyncSession, user_id: str, embedder: str, vector: bytes, limit: int, not_in: str | None
) -> dict[str, float]:
    """Message → cosine of the user's nearest messages, by exact search."""
    distance = EmbeddingRow.vector.op("<=>")(bindparam("query", vector, type_=VectorType()))
    statement = (
        select(EmbeddingRow.message_id, (1 - distance).label("cosine"))
        .where(*_comparable(user_id, embedder, vector))
        .order_by(distance)
        .limit(limit)
    )
    if not_in is not None:
        statement = statement.where(EmbeddingRow.conversation_id != not_in)
    return {message_id: float(cosine) for message_id, cosine in await session.execute(statement)}


async def cosines(
    session: AsyncSession, user_id: str, embedder: str, vector: bytes, message_ids: Collection[str]
) -> dict[str, float]:
    """Message → cosine, for the asked messages that have a vector."""
    distance = EmbeddingRow.vector.op("<=>")(bindparam("query", vector, type_=VectorType()))
    statement = select(EmbeddingRow.message_id, (1 - distance).label("cosine"))
    statement = statement.where(*_comparable(user_id, embedder, vector), among(EmbeddingRow.message_id, message_ids))
    return {message_id: float(cosine) for message_id, cosine in await session.execute(statement)}


def _comparable(user_id: str, embedder: str, vector: bytes) -> tuple[ColumnElement[bool], ...]:
    return (
        EmbeddingRow.user_id == user_id,
        EmbeddingRow.embedder == embedder,
        EmbeddingRow.dimensions == len(vector) // 4,
    )


async def numbers_in(session: AsyncSession, user_id: str, conversation_id: str) -> list[int]:
    """The numbers of a conversation's documents."""
    statement = select(DocumentRow.number).where(
        DocumentRow.user_id == user_id, DocumentRow.conversation_id == conversation_id
    )
    return list((await session.scalars(statement)).all())


async def by_number(session: AsyncSession, user_id: str, numbers: Collection[int]) -> dict[str, int]:
    """Message → number, of documents with these numbers."""
    statement = select(DocumentRow.message_id, DocumentRow.number).where(
        DocumentRow.user_id == user_id, among(DocumentRow.number, numbers)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def by_message(session: AsyncSession, user_id: str, message_ids: Collection[str]) -> dict[str, int]:
    """Message → number, of these messages' documents."""
    statement = select(DocumentRow.message_id, DocumentRow.number).where(
        DocumentRow.user_id == user_id, among(DocumentRow.message_id, message_ids)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def read_messages(session: AsyncSession, user_id: str, message_ids: Collection[str]) -> Sequence[MessageRow]:
    """The user's messages with these ids."""
    statement = select(MessageRow).where(among(MessageRow.message_id, message_ids), MessageRow.user_id == user_id)
    return (await session.scalars(statement)).all()


async def remove_conversation(session: AsyncSession, user_id: str, conversation_id: str) -> None:
    """Takes a conversation's documents out of postings and figures; rows that hang on messages go with those."""
    statistics = await lock_statistics(session, user_id)
    columns = select(DocumentRow.number, DocumentRow.length).where(
        DocumentRow.user_id == user_id, DocumentRow.conversation_id == conversation_id
    )
    gone = (await session.execute(columns)).all()
    if not gone:
        return
    await _rewrite_blocks(session, user_id, [number for number, _ in gone])
    left = Statistics(
        documents=statistics.documents - len(gone),
        tokens=statistics.tokens - sum(length for _, length in gone),
        next_number=statistics.next_number,
    )
    await write_statistics(session, user_id, left)


async def _rewrite_blocks(session: AsyncSession, user_id: str, numbers: Sequence[int]) -> None:
    after = (b"", -1)
    key = tuple_(PostingBlockRow.term, PostingBlockRow.block)
    while True:
        statement = (
            select(PostingBlockRow.term, PostingBlockRow.block, PostingBlockRow.postings)
            .where(PostingBlockRow.user_id == user_id, key > tuple_(literal(after[0]), literal(after[1])))
            .order_by(PostingBlockRow.term, PostingBlockRow.block)
            .limit(_BLOCKS_A_READ)
        )
        blocks = (await session.execute(statement)).all()
        kept = await asyncio.to_thread(_without, [postings for _, _, postings in blocks], numbers)
        for (term, block, before), left in zip(blocks, kept, strict=True):
            if len(left) != len(before):
                await _write_block(session, user_id, term, Block(block, left))
        if len(blocks) < _BLOCKS_A_READ:
            return
        after = (blocks[-1][0], blocks[-1][1])


def _without(blocks: Sequence[bytes], numbers: Sequence[int]) -> list[bytes]:
    from services.persistence.scoring import without  # numpy is loaded once something indexed is forgotten

    return [without(postings, numbers) for postings in blocks]


async def _write_block(session: AsyncSession, user_id: str, term: bytes, block: Block) -> None:
    found = (
        PostingBlockRow.user_id == user_id,
        PostingBlockRow.term == term,
        PostingBlockRow.block == block.block,
    )
    if block.count:
        changed = update(PostingBlockRow).where(*found).values(count=block.count, postings=block.postings)
        await session.execute(changed.execution_options(**_UNSYNCHRONISED))
    else:
        await session.execute(delete(PostingBlockRow).where(*found).execution_options(**_UNSYNCHRONISED))
