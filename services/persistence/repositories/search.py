"""Finding within one user's index: what every request with a memory asks, so statements for asyncpg itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.persistence.postgres import Statement
from services.persistence.repositories.turns import INDEX_KIND

MOST_FRESH = 32
"""Messages, and the turns that they are looked for in: indexing is seldom so far behind."""

_EVIDENCE = Statement("""
SELECT documents AS number, tokens, NULL AS term, NULL AS postings FROM index_statistics WHERE user_id = :user_id
UNION ALL
SELECT NULL, NULL, term, postings FROM posting_blocks WHERE user_id = :user_id AND term = ANY(CAST(:terms AS bytea[]))
UNION ALL
SELECT d.number, NULL, NULL, NULL FROM (
  SELECT message_id FROM embeddings
  WHERE user_id = :user_id AND embedder = :embedder AND dimensions = :dimensions
    AND (CAST(:without AS varchar) IS NULL OR conversation_id <> :without)
  ORDER BY vector <=> CAST(:vector AS vector) LIMIT :most
) AS nearest JOIN documents AS d USING (message_id) WHERE d.user_id = :user_id
""")

_NUMBERS = Statement("""
SELECT number FROM documents WHERE user_id = :user_id AND conversation_id = :conversation_id
""")

_FOUND = Statement("""
WITH undone AS (
  SELECT payload FROM jobs WHERE user_id = :user_id AND state <> 'done' AND kind = :kind
  ORDER BY queued_at DESC LIMIT :most_fresh
), fresh AS (
  SELECT m.* FROM
    (SELECT DISTINCT jsonb_array_elements_text(payload -> 'message_ids') AS message_id FROM undone) AS said
    JOIN messages AS m USING (message_id)
  WHERE m.user_id = :user_id AND NOT EXISTS (SELECT FROM documents AS d WHERE d.message_id = m.message_id)
    AND (CAST(:without AS varchar) IS NULL OR m.conversation_id <> :without)
  ORDER BY m.ordinal DESC LIMIT :most_fresh
)
SELECT m.message_id, m.conversation_id, m.speaker, m.text, m.slot, m.at, d.number,
  1 - (e.vector <=> CAST(:vector AS vector)) AS cosine
FROM documents AS d JOIN messages AS m USING (message_id)
LEFT JOIN embeddings AS e
  ON e.message_id = d.message_id AND e.embedder = :embedder AND e.dimensions = :dimensions AND e.user_id = :user_id
WHERE d.user_id = :user_id AND d.number = ANY(CAST(:numbers AS bigint[])) AND m.user_id = :user_id
UNION ALL
SELECT message_id, conversation_id, speaker, text, slot, at, NULL, NULL FROM fresh
""")


@dataclass(frozen=True)
class Query:
    """Whose memory is searched, and by which vector if by any."""

    user_id: str
    vector: bytes | None
    embedder: str | None
    without: str | None
    """A conversation that is left out."""

    @property
    def dimensions(self) -> int:
        return len(self.vector) // 4 if self.vector else 0


@dataclass
class Evidence:
    """What BM25 is made of (the postings of each asked term, and figures of the whole index), and what is nearest."""

    documents: int = 0
    tokens: int = 0
    postings: dict[bytes, list[bytes]] = field(default_factory=dict)
    nearest: list[int] = field(default_factory=list)
    """Numbers of documents, by exact search."""


@dataclass(frozen=True)
class Found:
    """A message, still sealed. ``number`` is None where it isn't indexed yet."""

    message_id: str
    conversation_id: str
    speaker: str
    text: bytes
    slot: int
    at: datetime
    number: int | None
    cosine: float | None


async def evidence(driver: Any, query: Query, terms: Collection[bytes], most: int) -> Evidence:
    """Both kinds in one round trip; nothing for a user without an index."""
    rows = await _EVIDENCE.fetch(
        driver,
        user_id=query.user_id,
        terms=list(terms),
        embedder=query.embedder,
        dimensions=query.dimensions,
        without=query.without,
        vector=query.vector,
        most=most,
    )
    found = Evidence()
    for number, tokens, term, postings in rows:
        if term is not None:
            found.postings.setdefault(term, []).append(postings)
        elif tokens is not None:
            found.documents, found.tokens = number, tokens
        else:
            found.nearest.append(number)
    return found


async def numbers_in(driver: Any, user_id: str, conversation_id: str) -> list[int]:
    """The numbers of a conversation's documents."""
    rows = await _NUMBERS.fetch(driver, user_id=user_id, conversation_id=conversation_id)
    return [number for (number,) in rows]


async def found(driver: Any, query: Query, numbers: Collection[int]) -> list[Found]:
    """The messages behind the numbers, each with its cosine, and the newest that aren't indexed yet."""
    rows = await _FOUND.fetch(
        driver,
        user_id=query.user_id,
        kind=INDEX_KIND,
        most_fresh=MOST_FRESH,
        without=query.without,
        vector=query.vector,
        embedder=query.embedder,
        dimensions=query.dimensions,
        numbers=list(numbers),
    )
    return [Found(*row) for row in rows]
