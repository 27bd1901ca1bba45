"""The index of one user's messages: documents, posting blocks, vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.persistence.postgres import Statement
from services.persistence.postings import Block, append
from services.persistence.tables import DocumentRow, PostingBlockRow, StatisticsRow

_BLOCKS_A_READ = 500
_UNSYNCHRONISED = {"synchronize_session": False}

_UNINDEXED = Statement("""
SELECT m.message_id, m.speaker, m.text, m.slot, m.at, p.message_id, p.text, p.slot
FROM messages AS m LEFT JOIN messages AS p ON p.message_id = m.parent_id AND p.user_id = :user_id
WHERE m.message_id = ANY(CAST(:message_ids AS varchar[])) AND m.user_id = :user_id AND NOT (
  EXISTS (SELECT FROM documents AS d WHERE d.message_id = m.message_id)
  AND EXISTS (SELECT FROM embeddings AS e WHERE e.message_id = m.message_id)
)
""")

_LOCK = Statement("""
SELECT documents, tokens, next_number FROM index_statistics WHERE user_id = :user_id FOR UPDATE
""")
_BEGIN = Statement("""
INSERT INTO index_statistics (user_id, documents, tokens, next_number) VALUES (:user_id, 0, 0, 0) ON CONFLICT DO NOTHING
""")

_OWNED = Statement("""
SELECT m.message_id, m.conversation_id, EXISTS (SELECT FROM documents AS d WHERE d.message_id = m.message_id),
  (SELECT dimensions FROM embeddings WHERE user_id = :user_id AND embedder = :embedder LIMIT 1)
FROM messages AS m WHERE m.message_id = ANY(CAST(:message_ids AS varchar[])) AND m.user_id = :user_id
""")

_LAST_BLOCKS = Statement("""
SELECT asked.term, last.block, last.postings FROM unnest(CAST(:terms AS bytea[])) AS asked (term)
CROSS JOIN LATERAL (
  SELECT block, postings FROM posting_blocks AS p WHERE p.user_id = :user_id AND p.term = asked.term
  ORDER BY block DESC LIMIT 1
) AS last
""")

_WRITE = Statement("""
WITH document AS (
  INSERT INTO documents (message_id, user_id, conversation_id, number, length)
  SELECT d.message_id, CAST(:user_id AS varchar), d.conversation_id, d.number, d.length FROM unnest(
    CAST(:ids AS varchar[]), CAST(:conversations AS varchar[]), CAST(:numbers AS bigint[]), CAST(:lengths AS int[])
  ) AS d (message_id, conversation_id, number, length)
), posting AS (
  INSERT INTO posting_blocks (user_id, term, block, count, postings)
  SELECT CAST(:user_id AS varchar), p.term, p.block, p.count, p.postings FROM unnest(
    CAST(:terms AS bytea[]), CAST(:blocks AS int[]), CAST(:counts AS int[]), CAST(:postings AS bytea[])
  ) AS p (term, block, count, postings)
  ON CONFLICT (user_id, term, block) DO UPDATE SET count = excluded.count, postings = excluded.postings
), embedding AS (
  INSERT INTO embeddings (message_id, embedder, user_id, conversation_id, dimensions, vector)
  SELECT e.message_id, :embedder, CAST(:user_id AS varchar), e.conversation_id, :dimensions, e.vector FROM unnest(
    CAST(:embedded AS varchar[]), CAST(:embedded_in AS varchar[]), CAST(:vectors AS vector[])
  ) AS e (message_id, conversation_id, vector)
  ON CONFLICT DO NOTHING
)
UPDATE index_statistics SET documents = :documents, tokens = :tokens, next_number = :next_number
WHERE user_id = :user_id
""")


@dataclass(frozen=True)
class Statistics:
    """What BM25 needs of one user's documents."""

    documents: int = 0
    tokens: int = 0
    next_number: int = 0


@dataclass(frozen=True)
class Sealed:
    """A message to read, still sealed."""

    message_id: str
    text: bytes
    slot: int


@dataclass(frozen=True)
class Unindexed:
    """A message that lacks terms or a vector, and the one before it."""

    speaker: str
    at: datetime
    message: Sealed
    previous: Sealed | None


@dataclass(frozen=True)
class Owned:
    """The user's own among messages to index."""

    conversations: Mapping[str, str]
    """Message → conversation."""
    indexed: frozenset[str]
    """Those whose terms are there already."""
    dimensions: int | None
    """What the embedder's vectors have; None before the first."""


@dataclass
class Entries:
    """What is to be written."""

    documents: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Message, conversation, number, length."""
    blocks: list[tuple[bytes, Block]] = field(default_factory=list)
    vectors: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Message, conversation, vector."""


async def read_unindexed(driver: Any, user_id: str, message_ids: Sequence[str]) -> list[Unindexed]:
    """The user's messages among these that aren't searchable by both terms and a vector."""
    rows = await _UNINDEXED.fetch(driver, user_id=user_id, message_ids=list(message_ids))
    return [
        Unindexed(speaker, at, Sealed(message_id, text, slot), Sealed(*previous) if previous[0] else None)
        for message_id, speaker, text, slot, at, *previous in rows
    ]


async def lock_statistics(driver: Any, user_id: str) -> Statistics:
    """Holds off other changes of the user's index until the commit."""
    rows = await _LOCK.fetch(driver, user_id=user_id)
    if not rows:
        await _BEGIN.fetch(driver, user_id=user_id)
        rows = await _LOCK.fetch(driver, user_id=user_id)
    return Statistics(*rows[0])


async def owned(driver: Any, user_id: str, message_ids: Sequence[str], embedder: str | None) -> Owned:
    """Those of the messages that are the user's and still exist."""
    rows = await _OWNED.fetch(driver, user_id=user_id, message_ids=list(message_ids), embedder=embedder)
    return Owned(
        conversations={message_id: conversation_id for message_id, conversation_id, _, _ in rows},
        indexed=frozenset(message_id for message_id, _, has_terms, _ in rows if has_terms),
        dimensions=rows[0][3] if rows else None,
    )


async def grown_blocks(driver: Any, user_id: str, added: Mapping[bytes, bytes]) -> list[tuple[bytes, Block]]:
    """The blocks that change when packed postings are appended to their terms'."""
    rows = await _LAST_BLOCKS.fetch(driver, user_id=user_id, terms=list(added)) if added else []
    last = {term: Block(block, postings) for term, block, postings in rows}
    return [(term, block) for term in sorted(added) for block in append(last.get(term), added[term])]


async def write(
    driver: Any, user_id: str, embedder: str | None, dimensions: int, entries: Entries, statistics: Statistics
) -> None:
    """Entries and the figures with them; vectors that are there already stay as they are."""
    await _WRITE.fetch(
        driver,
        user_id=user_id,
        ids=[message_id for message_id, _, _, _ in entries.documents],
        conversations=[conversation_id for _, conversation_id, _, _ in entries.documents],
        numbers=[number for _, _, number, _ in entries.documents],
        lengths=[length for _, _, _, length in entries.documents],
        terms=[term for term, _ in entries.blocks],
        blocks=[block.block for _, block in entries.blocks],
        counts=[block.count for _, block in entries.blocks],
        postings=[block.postings for _, block in entries.blocks],
        embedder=embedder,
        dimensions=dimensions,
        embedded=[message_id for message_id, _, _ in entries.vectors],
        embedded_in=[conversation_id for _, conversation_id, _ in entries.vectors],
        vectors=[vector for _, _, vector in entries.vectors],
        documents=statistics.documents,
        tokens=statistics.tokens,
        next_number=statistics.next_number,
    )


async def remove_conversation(session: AsyncSession, user_id: str, conversation_id: str) -> None:
    """Takes a conversation's documents out of postings and figures; rows that hang on messages go with those."""
    figures = (StatisticsRow.documents, StatisticsRow.tokens)
    locked = select(*figures).where(StatisticsRow.user_id == user_id).with_for_update()
    before = (await session.execute(locked)).one_or_none()
    columns = select(DocumentRow.number, DocumentRow.length).where(
        DocumentRow.user_id == user_id, DocumentRow.conversation_id == conversation_id
    )
    gone = (await session.execute(columns)).all()
    if before is None or not gone:
        return
    await _rewrite_blocks(session, user_id, [number for number, _ in gone])
    left = {"documents": before[0] - len(gone), "tokens": before[1] - sum(length for _, length in gone)}
    changed = update(StatisticsRow).where(StatisticsRow.user_id == user_id).values(left)
    await session.execute(changed.execution_options(**_UNSYNCHRONISED))


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
