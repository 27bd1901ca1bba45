"""Writing what doesn't come by the stream: headings, memories with a key each, the jobs that index them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.indexing import IndexRequested
from services.persistence.imported import Added, Tail
from services.persistence.postgres import Statement
from services.persistence.repositories.turns import INDEX_KIND
from services.persistence.retiring import KEYS

_ROWS_A_STATEMENT = 2000


@dataclass(frozen=True)
class NewHeading:
    """A conversation to begin; titles are sealed."""

    conversation_id: str
    kind: str
    title: bytes | None
    about: bytes | None
    slot: int | None
    name_hash: bytes | None = None
    """Of a document."""


@dataclass(frozen=True)
class Heading:
    """A conversation that exists."""

    remembered: bool
    tail: Tail


@dataclass(frozen=True)
class NewMemory:
    """A memory to keep, sealed under a key of its own; its turn has its id."""

    message_id: str
    conversation_id: str
    parent_id: str | None
    kind: str
    speaker: str
    text: bytes
    about: bytes | None
    source_hash: bytes | None
    slot: int
    at: datetime


_PROMISED = Statement("SELECT EXISTS (SELECT FROM forgettings WHERE user_id = :user_id AND scope <> :keys)")
_LIFT = Statement("DELETE FROM tombstones WHERE kind = 'conversation' AND id = ANY(CAST(:ids AS varchar[]))")
_PRESENT = Statement("""
SELECT source_hash FROM messages WHERE user_id = :user_id AND source_hash = ANY(CAST(:hashes AS bytea[]))
""")
_OWN = Statement("""
SELECT message_id FROM messages WHERE user_id = :user_id AND message_id = ANY(CAST(:ids AS varchar[]))
""")
_HEADINGS = Statement("""
SELECT c.conversation_id, c.remembered, c.newest_message_id, m.at, m.message_id IS NULL OR m.source_hash IS NOT NULL
FROM conversations AS c LEFT JOIN messages AS m ON m.message_id = c.newest_message_id
WHERE c.user_id = :user_id AND c.conversation_id = ANY(CAST(:ids AS varchar[]))
FOR UPDATE OF c
""")
_BEGIN = Statement("""
INSERT INTO conversations
  (conversation_id, user_id, kind, remembered, title, about, title_slot, name_hash, message_count, created_at,
  updated_at)
SELECT c.id, CAST(:user_id AS varchar), c.kind, true, c.title, c.about, c.slot, c.name_hash, 0,
  CAST(:at AS timestamptz), CAST(:at AS timestamptz)
FROM unnest(
  CAST(:ids AS varchar[]), CAST(:kinds AS varchar[]), CAST(:titles AS bytea[]), CAST(:abouts AS bytea[]),
  CAST(:slots AS bigint[]), CAST(:name_hashes AS bytea[])
) AS c (id, kind, title, about, slot, name_hash)
""")
_KEEP = Statement("""
WITH given AS (
  SELECT * FROM unnest(
    CAST(:ids AS varchar[]), CAST(:conversations AS varchar[]), CAST(:parents AS varchar[]), CAST(:kinds AS varchar[]),
    CAST(:speakers AS varchar[]), CAST(:texts AS bytea[]), CAST(:abouts AS bytea[]), CAST(:hashes AS bytea[]),
    CAST(:slots AS bigint[]), CAST(:times AS timestamptz[])
  ) WITH ORDINALITY AS g (id, conversation, parent, kind, speaker, text, about, hash, slot, at, place)
), turn AS (
  INSERT INTO turns (turn_id, user_id, conversation_id, slot, recalled, partial, prompt_tokens, completion_tokens, at)
  SELECT id, CAST(:user_id AS varchar), conversation, slot, '{}', false, 0, 0, at FROM given
)
INSERT INTO messages (message_id, user_id, conversation_id, turn_id, parent_id, kind, speaker, text, about, source_hash,
  slot, partial, at)
SELECT id, CAST(:user_id AS varchar), conversation, id, parent, kind, speaker, text, about, hash, slot, false, at
FROM given ORDER BY place
""")
_GROW = Statement("""
UPDATE conversations AS c SET
  message_count = c.message_count + g.count,
  created_at = CASE WHEN c.message_count = 0 THEN g.first ELSE least(c.created_at, g.first) END,
  updated_at = CASE WHEN c.message_count = 0 THEN g.last ELSE greatest(c.updated_at, g.last) END,
  newest_message_id = coalesce(g.leaf, c.newest_message_id)
FROM unnest(
  CAST(:ids AS varchar[]), CAST(:counts AS int[]), CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[]),
  CAST(:leaves AS varchar[])
) AS g (id, count, first, last, leaf)
WHERE c.conversation_id = g.id AND c.user_id = :user_id
""")
_CHAIN = Statement("""
UPDATE messages AS m SET parent_id = chain.parent_id FROM (
  SELECT message_id, lag(message_id) OVER (PARTITION BY conversation_id ORDER BY at, ordinal) AS parent_id
  FROM messages
  WHERE user_id = :user_id AND conversation_id = ANY(CAST(:ids AS varchar[])) AND source_hash IS NOT NULL
) AS chain
WHERE m.message_id = chain.message_id AND m.parent_id IS DISTINCT FROM chain.parent_id
""")
_STATE = Statement("""
INSERT INTO memory_states AS state (message_id, user_id, uses, pinned, importance)
VALUES (:message_id, :user_id, 0, coalesce(CAST(:pinned AS boolean), false), :importance)
ON CONFLICT (message_id) DO UPDATE SET
  pinned = coalesce(CAST(:pinned AS boolean), state.pinned), importance = coalesce(:importance, state.importance)
""")
_JOBS = Statement("""
INSERT INTO jobs (job_id, kind, state, attempts, payload, queued_at, offered_at, user_id, conversation_id)
SELECT j.id, CAST(:kind AS varchar), 'queued', 0, CAST(j.payload AS jsonb), CAST(:now AS timestamptz),
  CAST(:now AS timestamptz), CAST(:user_id AS varchar), CAST(:conversation_id AS varchar)
FROM unnest(CAST(:ids AS varchar[]), CAST(:payloads AS text[])) AS j (id, payload)
""")

_EVENTS = Statement("""
INSERT INTO outbox (message_id, kind, payload, user_id, conversation_id)
SELECT job_id, kind, payload, user_id, conversation_id FROM jobs WHERE job_id = ANY(CAST(:ids AS varchar[]))
""")


async def is_promised(driver: Any, user_id: str) -> bool:
    """Whether something of the user's is to be forgotten and isn't yet."""
    rows = await _PROMISED.fetch(driver, user_id=user_id, keys=KEYS)
    return bool(rows[0][0])


async def lift_tombstones(driver: Any, conversation_ids: Collection[str]) -> None:
    """Those that were forgotten once are wanted again. Nothing is forgotten meanwhile (``undisturbed``): a tombstone
    that came afterwards would keep out whatever is said there later."""
    await _LIFT.fetch(driver, ids=list(conversation_ids))


async def own(driver: Any, user_id: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of ``ids`` that are the user's memories: an export that comes back to where it was made."""
    return frozenset(row[0] for row in await _OWN.fetch(driver, user_id=user_id, ids=list(ids)))


async def present(driver: Any, user_id: str, hashes: Collection[bytes]) -> set[bytes]:
    """Those under which something is kept already."""
    return {row[0] for row in await _PRESENT.fetch(driver, user_id=user_id, hashes=list(hashes))}


async def headings(driver: Any, user_id: str, conversation_ids: Collection[str]) -> dict[str, Heading]:
    """The user's own among them, locked until the commit."""
    rows = await _HEADINGS.fetch(driver, user_id=user_id, ids=list(conversation_ids))
    return {row[0]: Heading(row[1], Tail(row[2], row[3], imported=row[4])) for row in rows}


async def begin(driver: Any, user_id: str, new: Sequence[NewHeading], at: datetime) -> None:
    """Headings without messages yet."""
    if new:
        await _BEGIN.fetch(
            driver,
            user_id=user_id,
            ids=[heading.conversation_id for heading in new],
            kinds=[heading.kind for heading in new],
            titles=[heading.title for heading in new],
            abouts=[heading.about for heading in new],
            slots=[heading.slot for heading in new],
            name_hashes=[heading.name_hash for heading in new],
            at=at,
        )


async def keep(driver: Any, user_id: str, memories: Sequence[NewMemory]) -> None:
    """Their rows, in order. A source that is there already violates a constraint."""
    for start in range(0, len(memories), _ROWS_A_STATEMENT):
        chosen = memories[start : start + _ROWS_A_STATEMENT]
        await _KEEP.fetch(
            driver,
            user_id=user_id,
            ids=[memory.message_id for memory in chosen],
            conversations=[memory.conversation_id for memory in chosen],
            parents=[memory.parent_id for memory in chosen],
            kinds=[memory.kind for memory in chosen],
            speakers=[memory.speaker for memory in chosen],
            texts=[memory.text for memory in chosen],
            abouts=[memory.about for memory in chosen],
            hashes=[memory.source_hash for memory in chosen],
            slots=[memory.slot for memory in chosen],
            times=[memory.at for memory in chosen],
        )


async def grow(driver: Any, user_id: str, added: Mapping[str, Added]) -> None:
    """What new memories do to the headings of their conversations, and to the chain where they came out of order."""
    await _GROW.fetch(
        driver,
        user_id=user_id,
        ids=list(added),
        counts=[one.count for one in added.values()],
        firsts=[one.first for one in added.values()],
        lasts=[one.last for one in added.values()],
        leaves=[one.leaf for one in added.values()],
    )
    if mixed := [conversation_id for conversation_id, one in added.items() if one.out_of_order]:
        await _CHAIN.fetch(driver, user_id=user_id, ids=mixed)


async def set_state(driver: Any, user_id: str, message_id: str, pinned: bool | None, importance: float | None) -> None:
    """What the user set of a memory; None leaves it as it is."""
    await _STATE.fetch(driver, user_id=user_id, message_id=message_id, pinned=pinned, importance=importance)


async def ask_to_index(
    driver: Any,
    requests: Sequence[IndexRequested],
    now: datetime,
    conversation_id: str | None = None,
    *,
    at_once: bool = False,
) -> tuple[str, ...]:
    """A job for each request; their ids. Where who asked does them itself they are offered by an event only once they
    have rested, else ``at_once``."""
    if not requests:
        return ()
    ids = [request.job_id or "" for request in requests]
    await _JOBS.fetch(
        driver,
        user_id=requests[0].user_id,
        kind=INDEX_KIND,
        ids=ids,
        payloads=[request.model_dump_json() for request in requests],
        conversation_id=conversation_id,
        now=now,
    )
    if at_once:
        await _EVENTS.fetch(driver, ids=ids)
    return tuple(ids)
