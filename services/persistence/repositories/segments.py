"""Rows of the sealed index: segments, and which memories stand in one. Always within one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.indexing import IndexRequested
from services.persistence.memory_index import State
from services.persistence.postgres import Statement
from services.persistence.repositories.turns import INDEX_KIND
from services.persistence.tables.index import TERMS

_LOCK = Statement("SELECT pg_advisory_xact_lock(hashtextextended('index of ' || CAST(:user_id AS varchar), 0))")


async def lock(driver: Any, user_id: str) -> None:
    """Holds off other changes of the user's index until the commit."""
    await _LOCK.fetch(driver, user_id=user_id)


@dataclass(frozen=True)
class SegmentHead:
    """A segment without its content; ``embedder`` is TERMS for one of terms."""

    segment_id: int
    embedder: str
    tier: int
    count: int
    slot: int


@dataclass(frozen=True)
class NewSegment:
    """A segment to write."""

    embedder: str
    tier: int
    ordinals: Sequence[int]
    slot: int
    content: bytes


_HEADS = Statement("""
SELECT segment_id, embedder, tier, count, slot FROM index_segments WHERE user_id = :user_id ORDER BY segment_id
""")
_HOLDING = Statement("""
SELECT segment_id, embedder, tier, count, slot FROM index_segments AS s WHERE user_id = :user_id
  AND EXISTS (SELECT FROM unnest(CAST(:ordinals AS bigint[])) AS o WHERE o BETWEEN s.first AND s.last)
ORDER BY segment_id
""")
_CONTENTS = Statement("SELECT segment_id, content FROM index_segments WHERE segment_id = ANY(CAST(:ids AS bigint[]))")
_INSERT = Statement("""
INSERT INTO index_segments (user_id, embedder, tier, count, first, last, slot, content)
VALUES (:user_id, :embedder, :tier, :count, :first, :last, :slot, :content)
""")
_REPLACE = Statement("""
UPDATE index_segments SET count = :count, first = :first, last = :last, slot = :slot, content = :content
WHERE segment_id = :segment_id
""")
_REMOVE = Statement("DELETE FROM index_segments WHERE segment_id = ANY(CAST(:ids AS bigint[]))")
_JOIN = Statement("""
INSERT INTO index_members (user_id, embedder, ordinal)
SELECT CAST(:user_id AS varchar), CAST(:embedder AS varchar), o FROM unnest(CAST(:ordinals AS bigint[])) AS o
ON CONFLICT DO NOTHING
""")
_LEAVE = Statement("""
DELETE FROM index_members WHERE user_id = :user_id AND ordinal = ANY(CAST(:ordinals AS bigint[]))
""")


async def heads(driver: Any, user_id: str) -> list[SegmentHead]:
    """Every segment, oldest first."""
    return [SegmentHead(*row) for row in await _HEADS.fetch(driver, user_id=user_id)]


async def holding(driver: Any, user_id: str, ordinals: Sequence[int]) -> list[SegmentHead]:
    """Segments that may hold one of the ordinals."""
    rows = await _HOLDING.fetch(driver, user_id=user_id, ordinals=list(ordinals))
    return [SegmentHead(*row) for row in rows]


async def contents(driver: Any, segment_ids: Sequence[int]) -> dict[int, bytes]:
    """Segment → content, still sealed."""
    return dict(map(tuple, await _CONTENTS.fetch(driver, ids=list(segment_ids))))


async def insert(driver: Any, user_id: str, segment: NewSegment) -> None:
    """Writes a segment and its members."""
    await _INSERT.fetch(
        driver,
        user_id=user_id,
        embedder=segment.embedder,
        tier=segment.tier,
        count=len(segment.ordinals),
        first=min(segment.ordinals),
        last=max(segment.ordinals),
        slot=segment.slot,
        content=segment.content,
    )
    await _JOIN.fetch(driver, user_id=user_id, embedder=segment.embedder, ordinals=list(segment.ordinals))


async def replace(driver: Any, segment_id: int, segment: NewSegment) -> None:
    """A segment's new content under its new key."""
    await _REPLACE.fetch(
        driver,
        segment_id=segment_id,
        count=len(segment.ordinals),
        first=min(segment.ordinals),
        last=max(segment.ordinals),
        slot=segment.slot,
        content=segment.content,
    )


async def remove(driver: Any, segment_ids: Sequence[int]) -> None:
    """Removes segments; their members stay."""
    await _REMOVE.fetch(driver, ids=list(segment_ids))


async def leave(driver: Any, user_id: str, ordinals: Sequence[int]) -> None:
    """The memories stand in no segment any more, whichever embedder's."""
    await _LEAVE.fetch(driver, user_id=user_id, ordinals=list(ordinals))


_REMOVE_EMBEDDER = Statement("""
WITH gone AS (DELETE FROM index_members WHERE user_id = :user_id AND embedder = :embedder)
DELETE FROM index_segments WHERE user_id = :user_id AND embedder = :embedder RETURNING slot
""")


async def remove_embedder(driver: Any, user_id: str, embedder: str) -> frozenset[int]:
    """Removes every vector of an embedder; the slots of the segments."""
    rows = await _REMOVE_EMBEDDER.fetch(driver, user_id=user_id, embedder=embedder)
    return frozenset(slot for (slot,) in rows)


_STATES = Statement("""
SELECT m.ordinal, s.uses, extract(epoch FROM s.used_at), s.pinned, s.importance
FROM memory_states AS s JOIN messages AS m USING (message_id) WHERE s.user_id = :user_id
""")
_NEWER = Statement("""
SELECT older.ordinal, max(newer.ordinal) FROM facts AS f
JOIN fact_sources AS o ON o.fact_id = f.fact_id JOIN messages AS older ON older.message_id = o.message_id
JOIN fact_sources AS n ON n.fact_id = f.superseded_by JOIN messages AS newer ON newer.message_id = n.message_id
WHERE f.user_id = :user_id AND f.superseded_by IS NOT NULL GROUP BY older.ordinal
""")
_ORDINALS = Statement("""
SELECT ordinal FROM messages WHERE user_id = :user_id AND message_id = ANY(CAST(:message_ids AS varchar[]))
""")


async def states(driver: Any, user_id: str) -> dict[int, State]:
    """Ordinal → what was set and counted."""
    rows = await _STATES.fetch(driver, user_id=user_id)
    return {ordinal: State(uses, float(at or 0), pinned, chosen) for ordinal, uses, at, pinned, chosen in rows}


async def newer(driver: Any, user_id: str) -> list[tuple[int, int]]:
    """Memories that a fact was drawn from which no longer holds, each with the newest that tells otherwise."""
    return [tuple(row) for row in await _NEWER.fetch(driver, user_id=user_id)]


async def ordinals_of(driver: Any, user_id: str, message_ids: Sequence[str]) -> list[int]:
    """The user's own among the messages."""
    rows = await _ORDINALS.fetch(driver, user_id=user_id, message_ids=list(message_ids))
    return [ordinal for (ordinal,) in rows]


@dataclass(frozen=True)
class Owned:
    """A message of the user that may be indexed."""

    message_id: str
    ordinal: int
    conversation_id: str
    at: float
    """Seconds since 1970."""
    importance: float | None
    """As the user set it."""
    pinned: bool
    has_terms: bool
    has_vector: bool
    current: bool
    """False: it was sealed anew since it was read, and may say something else by now."""


_OWNED = Statement("""
SELECT m.message_id, m.ordinal, m.conversation_id, CAST(extract(epoch FROM m.at) AS float8), s.importance,
  coalesce(s.pinned, false),
  EXISTS (SELECT FROM index_members AS t WHERE t.user_id = :user_id AND t.embedder = '' AND t.ordinal = m.ordinal),
  EXISTS (
    SELECT FROM index_members AS v WHERE v.user_id = :user_id AND v.embedder = :embedder AND v.ordinal = m.ordinal
  ), asked.version IS NULL OR asked.version = m.slot
FROM messages AS m JOIN conversations AS c USING (conversation_id)
LEFT JOIN memory_states AS s ON s.message_id = m.message_id
JOIN unnest(CAST(:message_ids AS varchar[]), CAST(:versions AS bigint[])) AS asked (message_id, version)
  ON asked.message_id = m.message_id
WHERE m.message_id = ANY(CAST(:message_ids AS varchar[])) AND m.user_id = :user_id AND c.remembered
""")


async def owned(
    driver: Any, user_id: str, versions: Mapping[str, int | None], embedder: str | None
) -> dict[str, Owned]:
    """The user's messages among these that still exist and are to be remembered; a version is of the text as it was
    read, where that is known."""
    rows = await _OWNED.fetch(
        driver,
        user_id=user_id,
        message_ids=list(versions),
        versions=list(versions.values()),
        embedder=embedder or TERMS,
    )
    return {row[0]: Owned(*row) for row in rows}


@dataclass(frozen=True)
class Unindexed:
    """A message that lacks what is wanted, still sealed."""

    message_id: str
    kind: str
    speaker: str
    text: bytes
    about: bytes | None
    slot: int
    at: datetime
    importance: float | None


_UNINDEXED = Statement("""
SELECT m.message_id, m.kind, m.speaker, m.text, m.about, m.slot, m.at, s.importance
FROM messages AS m JOIN conversations AS c USING (conversation_id)
LEFT JOIN memory_states AS s ON s.message_id = m.message_id
WHERE m.message_id = ANY(CAST(:message_ids AS varchar[])) AND m.user_id = :user_id AND c.remembered
  AND EXISTS (
    SELECT FROM unnest(CAST(:wanted AS varchar[])) AS w WHERE NOT EXISTS (
      SELECT FROM index_members AS i WHERE i.user_id = :user_id AND i.embedder = w AND i.ordinal = m.ordinal
    )
  )
ORDER BY m.ordinal
""")


async def read_unindexed(
    driver: Any, user_id: str, message_ids: Sequence[str], wanted: Sequence[str]
) -> list[Unindexed]:
    """The user's messages among these that aren't in the segments of each of the ``wanted`` (embedders, or TERMS)."""
    rows = await _UNINDEXED.fetch(driver, user_id=user_id, message_ids=list(message_ids), wanted=list(wanted))
    return [Unindexed(*row) for row in rows]


_EMBEDDERS = Statement("""
SELECT embedder, sum(count) FROM index_segments WHERE user_id = :user_id AND embedder <> '' GROUP BY embedder
ORDER BY sum(count) DESC, embedder
""")
_UNCOVERED = Statement("""
SELECT m.message_id FROM index_members AS t JOIN messages AS m ON m.ordinal = t.ordinal
WHERE t.user_id = :user_id AND t.embedder = '' AND NOT EXISTS (
  SELECT FROM index_members AS v WHERE v.user_id = :user_id AND v.embedder = :embedder AND v.ordinal = t.ordinal
) ORDER BY t.ordinal LIMIT :most
""")
_LOST = Statement("""
DELETE FROM index_members WHERE user_id = :user_id AND embedder = :embedder
  AND NOT ordinal = ANY(CAST(:held AS bigint[])) RETURNING ordinal
""")
_IDS = Statement("""
SELECT message_id FROM messages WHERE user_id = :user_id AND ordinal = ANY(CAST(:ordinals AS bigint[])) ORDER BY ordinal
""")


async def embedders(driver: Any, user_id: str) -> dict[str, int]:
    """Embedder → how many vectors of it there are, most first."""
    return {embedder: int(count) for embedder, count in await _EMBEDDERS.fetch(driver, user_id=user_id)}


async def uncovered(driver: Any, user_id: str, embedder: str, most: int) -> list[str]:
    """Memories that can be found by their terms and have no vector of this embedder."""
    rows = await _UNCOVERED.fetch(driver, user_id=user_id, embedder=embedder, most=most)
    return [message_id for (message_id,) in rows]


async def remove_lost(driver: Any, user_id: str, embedder: str, held: Sequence[int]) -> list[str]:
    """Removes members that no segment holds, and answers whose they were."""
    lost = await _LOST.fetch(driver, user_id=user_id, embedder=embedder, held=list(held))
    rows = await _IDS.fetch(driver, user_id=user_id, ordinals=[ordinal for (ordinal,) in lost])
    return [message_id for (message_id,) in rows]


_ADD_JOB = Statement("""
WITH job AS (
  INSERT INTO jobs (job_id, kind, state, attempts, payload, queued_at, offered_at, user_id, conversation_id)
  VALUES (CAST(:job_id AS varchar), CAST(:kind AS varchar), 'queued', 0, CAST(:payload AS jsonb),
    CAST(:now AS timestamptz), CAST(:now AS timestamptz), CAST(:user_id AS varchar), NULL)
)
INSERT INTO outbox (message_id, kind, payload, user_id, conversation_id)
VALUES (CAST(:job_id AS varchar), CAST(:kind AS varchar), CAST(:payload AS jsonb), CAST(:user_id AS varchar), NULL)
""")
_OPEN_REINDEXING = Statement("""
SELECT count(*) FROM jobs WHERE user_id = :user_id AND kind = :kind AND state <> 'done'
  AND payload ->> 'embedder' = :embedder
""")


async def add_job(driver: Any, request: IndexRequested, now: datetime) -> None:
    """An index job with its event."""
    await _ADD_JOB.fetch(
        driver,
        user_id=request.user_id,
        job_id=request.job_id,
        kind=INDEX_KIND,
        payload=request.model_dump_json(),
        now=now,
    )


async def open_reindexing(driver: Any, user_id: str, embedder: str) -> int:
    """Jobs that make vectors of this embedder and aren't done."""
    ((count,),) = await _OPEN_REINDEXING.fetch(driver, user_id=user_id, kind=INDEX_KIND, embedder=embedder)
    return int(count)


_RECENT_USERS = Statement("""
SELECT user_id FROM conversations AS c WHERE EXISTS (SELECT FROM index_segments AS s WHERE s.user_id = c.user_id)
GROUP BY user_id ORDER BY max(updated_at) DESC LIMIT :most
""")
_USERS_OF_OTHERS = Statement("""
SELECT DISTINCT user_id FROM index_segments WHERE embedder NOT IN ('', CAST(:embedder AS varchar))
ORDER BY user_id LIMIT :most
""")


async def recent_users(driver: Any, most: int) -> list[str]:
    """Users with an index, those who said something last first."""
    return [user_id for (user_id,) in await _RECENT_USERS.fetch(driver, most=most)]


_MOST_USED = Statement("""
SELECT embedder FROM index_segments WHERE embedder <> '' GROUP BY embedder ORDER BY sum(count) DESC, embedder LIMIT 1
""")


async def most_used(driver: Any) -> str | None:
    """The embedder of the most vectors of all users; None where there are none."""
    rows = await _MOST_USED.fetch(driver)
    return str(rows[0][0]) if rows else None


async def users_of_others(driver: Any, embedder: str, most: int) -> list[str]:
    """Users who have vectors of another embedder than this."""
    return [user_id for (user_id,) in await _USERS_OF_OTHERS.fetch(driver, embedder=embedder, most=most)]


_LOOKED_AT = 8
"""Messages of open jobs that are looked at for each that is wanted: a large import's jobs hold thousands."""
_FRESH = Statement("""
WITH undone AS (
  SELECT payload FROM jobs WHERE user_id = :user_id AND state <> 'done' AND kind = :kind
    AND payload ->> 'embedder' IS NULL
  ORDER BY queued_at DESC LIMIT :most
), said AS (
  SELECT jsonb_array_elements_text(payload -> 'message_ids') AS message_id FROM undone LIMIT :looked_at
)
SELECT m.ordinal FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE m.message_id = ANY(ARRAY(SELECT message_id FROM said)) AND m.user_id = :user_id AND c.remembered
  AND (SELECT count(*) FROM index_members AS t
    WHERE t.user_id = :user_id AND t.embedder = '' AND t.ordinal = m.ordinal) = 0
ORDER BY m.ordinal DESC LIMIT :most
""")


async def fresh(driver: Any, user_id: str, most: int) -> list[int]:
    """Ordinals of the newest memories whose index job is not done and that can't be found yet."""
    rows = await _FRESH.fetch(driver, user_id=user_id, kind=INDEX_KIND, most=most, looked_at=most * _LOOKED_AT)
    return [ordinal for (ordinal,) in rows]
