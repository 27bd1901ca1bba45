"""What a forgetting removes: messages with their turns, facts, the index, and every other row that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.common import Position
from libs.shared.contracts.forgetting import Scope
from services.persistence.postgres import Statement
from services.persistence.repositories.turns import INDEX_KIND
from services.persistence.supersession import FactEnd, Superseded

_SCOPE_OF = Statement("""
SELECT 'memory' FROM messages WHERE message_id = :id AND user_id = :user_id
UNION ALL SELECT 'fact' FROM facts WHERE fact_id = :id AND user_id = :user_id
""")
_CONVERSATION_KIND = Statement("SELECT kind FROM conversations WHERE conversation_id = :id AND user_id = :user_id")


async def scope_of(driver: Any, user_id: str, memory_id: str) -> Scope | None:
    """Whether the id is a memory's or a fact's of the user; None: neither."""
    rows = await _SCOPE_OF.fetch(driver, id=memory_id, user_id=user_id)
    return rows[0][0] if rows else None


async def conversation_kind(driver: Any, user_id: str, conversation_id: str) -> str | None:
    """None when there is no such conversation of the user."""
    rows = await _CONVERSATION_KIND.fetch(driver, id=conversation_id, user_id=user_id)
    return rows[0][0] if rows else None


@dataclass(frozen=True)
class Doomed:
    """A message that goes."""

    message_id: str
    ordinal: int
    turn_id: str
    conversation_id: str
    parent_id: str | None


_DOOMED = "SELECT message_id, ordinal, turn_id, conversation_id, parent_id FROM messages WHERE user_id = :user_id AND "
_DOOMED_MESSAGE = Statement(_DOOMED + "message_id = :id")
_DOOMED_CONVERSATION = Statement(_DOOMED + "conversation_id = :id ORDER BY ordinal")


async def message(driver: Any, user_id: str, message_id: str) -> Doomed | None:
    """None when it is gone."""
    rows = await _DOOMED_MESSAGE.fetch(driver, user_id=user_id, id=message_id)
    return Doomed(*rows[0]) if rows else None


async def messages_of(driver: Any, user_id: str, conversation_id: str) -> list[Doomed]:
    """Every message of a conversation."""
    return [Doomed(*row) for row in await _DOOMED_CONVERSATION.fetch(driver, user_id=user_id, id=conversation_id)]


# ---------------------------------------------------------------- facts

_ORPHANS = Statement("""
SELECT s.fact_id FROM fact_sources AS s LEFT JOIN unnest(CAST(:ids AS varchar[])) AS d (id) ON d.id = s.message_id
WHERE s.fact_id IN (
  SELECT f.fact_id FROM unnest(CAST(:ids AS varchar[])) AS gone (id)
  JOIN fact_sources AS f ON f.message_id = gone.id JOIN facts USING (fact_id) WHERE facts.user_id = :user_id
)
GROUP BY s.fact_id HAVING bool_and(d.id IS NOT NULL)
""")
_ENDS = Statement("""
SELECT fact_id, superseded_by, valid_from FROM facts AS f WHERE user_id = :user_id AND (
  superseded_by = ANY(CAST(:ids AS varchar[])) OR fact_id = ANY(CAST(:ids AS varchar[]))
  OR EXISTS (SELECT FROM facts AS gone WHERE gone.fact_id = ANY(CAST(:ids AS varchar[])) AND gone.user_id = :user_id
    AND gone.superseded_by = f.fact_id)
)
""")
_REMOVE_FACTS = Statement("""
DELETE FROM facts WHERE user_id = :user_id AND fact_id = ANY(CAST(:ids AS varchar[])) RETURNING slot
""")
_CHANGE_ENDS = Statement("""
UPDATE facts SET superseded_by = c.superseded_by, valid_to = c.valid_to
FROM unnest(CAST(:ids AS varchar[]), CAST(:superseders AS varchar[]), CAST(:ends AS timestamptz[]))
  AS c (id, superseded_by, valid_to)
WHERE facts.fact_id = c.id AND facts.user_id = :user_id
""")


async def facts_without_source(driver: Any, user_id: str, message_ids: Sequence[str]) -> list[str]:
    """The facts that were drawn from these memories alone."""
    return [row[0] for row in await _ORPHANS.fetch(driver, user_id=user_id, ids=message_ids)]


async def ends_around(driver: Any, user_id: str, fact_ids: Sequence[str]) -> list[FactEnd]:
    """These facts, those that they superseded, and those that superseded them."""
    return [FactEnd(*row) for row in await _ENDS.fetch(driver, user_id=user_id, ids=fact_ids)]


async def remove_facts(driver: Any, user_id: str, fact_ids: Sequence[str]) -> frozenset[int]:
    """The slots of those that were there."""
    return frozenset(row[0] for row in await _REMOVE_FACTS.fetch(driver, user_id=user_id, ids=fact_ids))


async def change_ends(driver: Any, user_id: str, changes: Sequence[Superseded]) -> None:
    """Gives facts another end."""
    await _CHANGE_ENDS.fetch(
        driver,
        user_id=user_id,
        ids=[change.fact_id for change in changes],
        superseders=[change.superseded_by for change in changes],
        ends=[change.valid_to for change in changes],
    )


# ---------------------------------------------------------------- what names messages elsewhere

_TRIM = """
WITH kept AS (
  SELECT t.{key}, jsonb_agg(m.id ORDER BY m.place) FILTER (WHERE d.id IS NULL) AS ids FROM {table} AS t
  CROSS JOIN LATERAL jsonb_array_elements_text(t.payload->'message_ids') WITH ORDINALITY AS m (id, place)
  LEFT JOIN unnest(CAST(:ids AS varchar[])) AS d (id) ON d.id = m.id
  WHERE t.user_id = :user_id AND t.kind = :kind GROUP BY t.{key} HAVING bool_or(d.id IS NOT NULL)
)
UPDATE {table} AS t SET payload = jsonb_set(t.payload, '{{message_ids}}', coalesce(kept.ids, '[]'))
FROM kept WHERE t.{key} = kept.{key} RETURNING 1
"""
_TRIM_JOBS = Statement(_TRIM.format(table="jobs", key="job_id"))
_TRIM_OUTBOX = Statement(_TRIM.format(table="outbox", key="id"))
_EMPTY = "DELETE FROM {table} WHERE user_id = :user_id AND kind = :kind AND payload->'message_ids' = '[]'"
_EMPTY_JOBS = Statement(_EMPTY.format(table="jobs"))
_EMPTY_OUTBOX = Statement(_EMPTY.format(table="outbox"))
_UNRECALL = Statement("""
WITH kept AS (
  SELECT t.turn_id, array_agg(r.id ORDER BY r.place) FILTER (WHERE d.id IS NULL) AS ids FROM turns AS t
  CROSS JOIN LATERAL unnest(t.recalled) WITH ORDINALITY AS r (id, place)
  LEFT JOIN unnest(CAST(:ids AS varchar[])) AS d (id) ON d.id = r.id
  WHERE t.user_id = :user_id GROUP BY t.turn_id HAVING bool_or(d.id IS NOT NULL)
)
UPDATE turns AS t SET recalled = coalesce(kept.ids, '{}') FROM kept WHERE t.turn_id = kept.turn_id
""")
_POSITIONS = """
UPDATE applied_positions AS a SET erase_after = :now FROM turns AS t
WHERE t.epoch = a.epoch AND t.sequence = a.sequence AND {chosen} RETURNING a.epoch, a.sequence
"""
_POSITIONS_OF_USER = Statement(_POSITIONS.format(chosen="t.user_id = :id"))
_POSITIONS_OF_CONVERSATION = Statement(_POSITIONS.format(chosen="t.conversation_id = :id"))
_POSITION_OF_TURN = Statement(_POSITIONS.format(chosen="t.turn_id = :id"))


async def remove_mentions(driver: Any, user_id: str, message_ids: Sequence[str]) -> int:
    """Takes the messages out of jobs, waiting events and the turns that recalled them; how many jobs named them."""
    values = {"user_id": user_id, "kind": INDEX_KIND}
    trimmed = await _TRIM_JOBS.fetch(driver, ids=message_ids, **values)
    await _TRIM_OUTBOX.fetch(driver, ids=message_ids, **values)
    await _EMPTY_JOBS.fetch(driver, **values)
    await _EMPTY_OUTBOX.fetch(driver, **values)
    await _UNRECALL.fetch(driver, user_id=user_id, ids=message_ids)
    return len(trimmed)


async def positions_of_user(driver: Any, user_id: str, now: datetime) -> tuple[Position, ...]:
    """What of the user's turns still lies in the stream; it is due to be erased now."""
    return _as_positions(await _POSITIONS_OF_USER.fetch(driver, id=user_id, now=now))


async def positions_of_conversation(driver: Any, conversation_id: str, now: datetime) -> tuple[Position, ...]:
    """The same of a conversation."""
    return _as_positions(await _POSITIONS_OF_CONVERSATION.fetch(driver, id=conversation_id, now=now))


async def position_of_turn(driver: Any, turn_id: str, now: datetime) -> tuple[Position, ...]:
    """The same of one turn."""
    return _as_positions(await _POSITION_OF_TURN.fetch(driver, id=turn_id, now=now))


def _as_positions(rows: Sequence[Any]) -> tuple[Position, ...]:
    return tuple(Position(epoch=epoch, sequence=sequence) for epoch, sequence in rows)


# ---------------------------------------------------------------- one message

_SIBLINGS = Statement("""
SELECT message_id, slot, text, about FROM messages WHERE turn_id = :turn_id AND message_id <> :message_id
ORDER BY ordinal FOR UPDATE
""")
_RESEAL = Statement("""
WITH turn AS (UPDATE turns SET slot = :slot WHERE turn_id = :turn_id)
UPDATE messages AS m SET slot = :slot, text = s.text, about = s.about,
  said_hash = CASE WHEN m.message_id = :edited THEN NULL ELSE m.said_hash END
FROM unnest(CAST(:ids AS varchar[]), CAST(:texts AS bytea[]), CAST(:abouts AS bytea[])) AS s (id, text, about)
WHERE m.message_id = s.id
""")
_UNLINK = Statement("""
WITH children AS (
  UPDATE messages SET parent_id = :parent_id WHERE conversation_id = :conversation_id AND parent_id = :message_id
)
UPDATE conversations AS c SET message_count = message_count - 1, newest_message_id = CASE
  WHEN newest_message_id <> CAST(:message_id AS varchar) THEN newest_message_id
  ELSE coalesce(CAST(:parent_id AS varchar), (
    SELECT m.message_id FROM messages AS m WHERE m.conversation_id = c.conversation_id AND m.message_id <> :message_id
    ORDER BY m.ordinal DESC LIMIT 1
  ))
END
WHERE conversation_id = :conversation_id
""")
_REMOVE_MESSAGE = Statement("DELETE FROM messages WHERE message_id = :message_id RETURNING slot")
_REMOVE_TURN = Statement("DELETE FROM turns WHERE turn_id = :turn_id RETURNING slot")
_REMOVE_IF_EMPTY = Statement("""
DELETE FROM conversations AS c WHERE conversation_id = :conversation_id
  AND NOT EXISTS (SELECT FROM messages AS m WHERE m.conversation_id = c.conversation_id)
RETURNING title_slot
""")


@dataclass(frozen=True)
class SealedSibling:
    """A message of the same turn, still sealed."""

    message_id: str
    slot: int
    text: bytes
    about: bytes | None


async def siblings(driver: Any, doomed: Doomed) -> list[SealedSibling]:
    """The other messages of its turn."""
    rows = await _SIBLINGS.fetch(driver, turn_id=doomed.turn_id, message_id=doomed.message_id)
    return [SealedSibling(*row) for row in rows]


async def reseal(
    driver: Any, turn_id: str, slot: int, resealed: Sequence[SealedSibling], *, edited: str | None = None
) -> None:
    """The messages under another key, and the turn with them; the ``edited`` one is no longer known by what it said."""
    await _RESEAL.fetch(
        driver,
        turn_id=turn_id,
        slot=slot,
        edited=edited,
        ids=[message.message_id for message in resealed],
        texts=[message.text for message in resealed],
        abouts=[message.about for message in resealed],
    )


async def remove_message(driver: Any, doomed: Doomed, *, with_turn: bool) -> frozenset[int]:
    """Links its children to its parent and removes it, ``with_turn`` where that has no other; their slots."""
    await _UNLINK.fetch(
        driver, message_id=doomed.message_id, parent_id=doomed.parent_id, conversation_id=doomed.conversation_id
    )
    removed = await _REMOVE_MESSAGE.fetch(driver, message_id=doomed.message_id)
    slots = {row[0] for row in removed}
    if with_turn:
        slots |= {row[0] for row in await _REMOVE_TURN.fetch(driver, turn_id=doomed.turn_id)}
    return frozenset(slots)


async def remove_if_empty(driver: Any, conversation_id: str) -> tuple[int, frozenset[int]]:
    """How many headings went (none or one), and the slots of their titles."""
    return _titles(await _REMOVE_IF_EMPTY.fetch(driver, conversation_id=conversation_id))


# ---------------------------------------------------------------- whole conversations and users

_PORTION = 5000
"""Turns of one statement: none takes longer than the database allows, however much there is to forget."""
_TURNS = "DELETE FROM turns WHERE turn_id IN (SELECT turn_id FROM turns WHERE {chosen} LIMIT :most) RETURNING slot"
_TURNS_OF_CONVERSATION = Statement(_TURNS.format(chosen="conversation_id = :id"))
_TURNS_OF_USER = Statement(_TURNS.format(chosen="user_id = :id"))
_HEADINGS = "DELETE FROM conversations WHERE {chosen} RETURNING title_slot"
_HEADING = Statement(_HEADINGS.format(chosen="conversation_id = :id"))
_HEADINGS_OF_USER = Statement(_HEADINGS.format(chosen="user_id = :id"))
_QUARANTINED = "DELETE FROM quarantined_messages WHERE {chosen} RETURNING slots"
_QUARANTINED_OF_CONVERSATION = Statement(_QUARANTINED.format(chosen="conversation_id = :id AND user_id = :user_id"))
_QUARANTINED_OF_USER = Statement(_QUARANTINED.format(chosen="user_id = :id"))
_JOBS_OF_CONVERSATION = Statement("DELETE FROM jobs WHERE conversation_id = :id AND user_id = :user_id RETURNING 1")
_OUTBOX_OF_CONVERSATION = Statement("DELETE FROM outbox WHERE conversation_id = :id AND user_id = :user_id")
_JOBS_OF_USER = Statement("DELETE FROM jobs WHERE user_id = :id RETURNING 1")
_OUTBOX_OF_USER = Statement("DELETE FROM outbox WHERE user_id = :id")
_FACTS_OF_USER = Statement("DELETE FROM facts WHERE user_id = :id RETURNING slot")
_SEGMENTS_OF_USER = Statement("DELETE FROM index_segments WHERE user_id = :id RETURNING slot")
_MEMBERS_OF_USER = Statement("""
WITH gone AS (DELETE FROM index_members WHERE user_id = :id RETURNING embedder)
SELECT count(*) FILTER (WHERE embedder = ''), count(*) FILTER (WHERE embedder <> '') FROM gone
""")
_MESSAGES_OF_USER = Statement("SELECT count(*) FROM messages WHERE user_id = :id")
_USER = Statement("DELETE FROM users WHERE user_id = :id RETURNING key_slot")


async def remove_conversation(driver: Any, conversation_id: str) -> tuple[int, frozenset[int]]:
    """A conversation with its turns: how many headings went (none or one), and the slots."""
    slots = await _remove_turns(driver, _TURNS_OF_CONVERSATION, conversation_id)
    count, titles = _titles(await _HEADING.fetch(driver, id=conversation_id))
    return count, slots | titles


async def remove_conversations(driver: Any, user_id: str) -> tuple[int, frozenset[int]]:
    """All of the user's conversations with their turns."""
    slots = await _remove_turns(driver, _TURNS_OF_USER, user_id)
    count, titles = _titles(await _HEADINGS_OF_USER.fetch(driver, id=user_id))
    return count, slots | titles


async def _remove_turns(driver: Any, statement: Statement, chosen: str) -> frozenset[int]:
    slots: set[int] = set()
    while portion := await statement.fetch(driver, id=chosen, most=_PORTION):
        slots.update(row[0] for row in portion)
    return frozenset(slots)


def _titles(rows: Sequence[Any]) -> tuple[int, frozenset[int]]:
    return len(rows), frozenset(row[0] for row in rows if row[0] is not None)


async def remove_quarantined_of_conversation(
    driver: Any, user_id: str, conversation_id: str
) -> tuple[int, frozenset[int]]:
    """How many turns were set aside, and the slots of their keys."""
    return _aside(await _QUARANTINED_OF_CONVERSATION.fetch(driver, id=conversation_id, user_id=user_id))


async def remove_quarantined_of_user(driver: Any, user_id: str) -> tuple[int, frozenset[int]]:
    """The same of all that a user said."""
    return _aside(await _QUARANTINED_OF_USER.fetch(driver, id=user_id))


def _aside(rows: Sequence[Any]) -> tuple[int, frozenset[int]]:
    return len(rows), frozenset(slot for row in rows for slot in row[0])


async def remove_jobs_of_conversation(driver: Any, user_id: str, conversation_id: str) -> int:
    """Its jobs and waiting events; how many jobs."""
    await _OUTBOX_OF_CONVERSATION.fetch(driver, id=conversation_id, user_id=user_id)
    return len(await _JOBS_OF_CONVERSATION.fetch(driver, id=conversation_id, user_id=user_id))


async def remove_jobs_of_user(driver: Any, user_id: str) -> int:
    """The same of a user."""
    await _OUTBOX_OF_USER.fetch(driver, id=user_id)
    return len(await _JOBS_OF_USER.fetch(driver, id=user_id))


async def remove_all_facts(driver: Any, user_id: str) -> frozenset[int]:
    """The slots of the user's facts."""
    return frozenset(row[0] for row in await _FACTS_OF_USER.fetch(driver, id=user_id))


@dataclass(frozen=True)
class RemovedIndex:
    """A user's whole index."""

    slots: frozenset[int]
    terms: int
    vectors: int


async def remove_index(driver: Any, user_id: str) -> RemovedIndex:
    """Every segment of the user."""
    slots = frozenset(row[0] for row in await _SEGMENTS_OF_USER.fetch(driver, id=user_id))
    ((terms, vectors),) = await _MEMBERS_OF_USER.fetch(driver, id=user_id)
    return RemovedIndex(slots, terms, vectors)


async def count_messages(driver: Any, user_id: str) -> int:
    """All that the user has."""
    ((count,),) = await _MESSAGES_OF_USER.fetch(driver, id=user_id)
    return int(count)


async def remove_user(driver: Any, user_id: str) -> frozenset[int]:
    """The account itself; the slot of its key."""
    return frozenset(row[0] for row in await _USER.fetch(driver, id=user_id))
