"""Kept turns: what applying has to know, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.bus.base import Poison
from libs.shared.contracts.common import Position
from libs.shared.contracts.indexing import IndexRequested
from libs.shared.contracts.turns import KeptMessage, TurnCompleted
from services.persistence.postgres import Statement
from services.persistence.tables import WatermarkRow

INDEX_KIND = "index_messages"


@dataclass(frozen=True)
class Known:
    """What the database knows of a turn that arrives."""

    key_slot: int | None
    """Of the user; None when there is no such user."""
    forgotten: bool
    """The user, the conversation or the turn has a tombstone."""
    applied: bool
    """The turn is there already."""
    conversation_owner: str | None
    remembered: bool | None
    """The conversation's own setting; None when there is no such conversation yet."""
    newest_message_id: str | None
    parents: frozenset[str]
    """Those parents outside the turn that are in the conversation."""


_LOAD = Statement("""
SELECT
  (SELECT key_slot FROM users WHERE user_id = :user_id),
  EXISTS (SELECT FROM tombstones WHERE kind = 'user' AND id = :user_id)
    OR EXISTS (SELECT FROM tombstones WHERE kind = 'conversation' AND id = :conversation_id)
    OR EXISTS (SELECT FROM tombstones WHERE kind = 'turn' AND id = :turn_id),
  EXISTS (SELECT FROM turns WHERE turn_id = :turn_id),
  (SELECT user_id FROM conversations WHERE conversation_id = :conversation_id),
  (SELECT remembered FROM conversations WHERE conversation_id = :conversation_id),
  (SELECT newest_message_id FROM conversations WHERE conversation_id = :conversation_id),
  ARRAY(
    SELECT message_id FROM messages
    WHERE conversation_id = :conversation_id AND message_id = ANY(CAST(:parents AS varchar[]))
  )
""")

_MOVE = """
dealt_with AS (
  INSERT INTO applied_positions (epoch, sequence, erase_after)
  SELECT CAST(:epoch AS varchar), CAST(:sequence AS bigint), CAST(:erase_after AS timestamptz)
  WHERE CAST(:erase_after AS timestamptz) IS NOT NULL
  ON CONFLICT DO NOTHING
)
UPDATE watermark SET
  epoch = :epoch,
  sequence = CASE WHEN epoch = :epoch THEN greatest(sequence, :sequence) ELSE :sequence END
WHERE id = 1
"""
_ADVANCE = Statement(" ".join(("WITH", _MOVE)))

_ROWS = """
WITH conversation AS (
  INSERT INTO conversations AS kept
    (conversation_id, user_id, kind, remembered, newest_message_id, message_count, created_at, updated_at)
  VALUES (:conversation_id, :user_id, 'chat', :remembered, :newest, :count, :at, :at)
  ON CONFLICT (conversation_id) DO UPDATE SET
    newest_message_id = excluded.newest_message_id,
    message_count = kept.message_count + excluded.message_count,
    updated_at = greatest(kept.updated_at, excluded.updated_at)
), recalled AS (
  -- locked, so that one that is being forgotten is passed over instead of refused
  SELECT message_id FROM messages
  WHERE user_id = :user_id AND message_id = ANY(CAST(:recalled AS varchar[])) FOR KEY SHARE
), used AS (
  INSERT INTO memory_states AS state (message_id, user_id, uses, used_at, pinned)
  SELECT message_id, CAST(:user_id AS varchar), 1, CAST(:at AS timestamptz), false FROM recalled
  ON CONFLICT (message_id) DO UPDATE SET
    uses = state.uses + 1, used_at = greatest(state.used_at, excluded.used_at)
), turn AS (
  INSERT INTO turns (turn_id, user_id, conversation_id, slot, epoch, sequence, recalled, model, partial,
    prompt_tokens, completion_tokens, at)
  VALUES (:turn_id, :user_id, :conversation_id, :slot, :epoch, :sequence, ARRAY(SELECT message_id FROM recalled),
    :model, :partial, :prompt_tokens, :completion_tokens, :at)
), message AS (
  INSERT INTO messages (message_id, user_id, conversation_id, turn_id, parent_id, speaker, text, said_hash, slot,
    partial, at)
  SELECT m.id, CAST(:user_id AS varchar), CAST(:conversation_id AS varchar), CAST(:turn_id AS varchar), m.parent,
    m.speaker, m.text, m.said, CAST(:slot AS bigint), CAST(:partial AS boolean) AND m.speaker = 'assistant', m.at
  FROM unnest(
    CAST(:ids AS varchar[]), CAST(:parents AS varchar[]), CAST(:speakers AS varchar[]), CAST(:texts AS bytea[]),
    CAST(:said AS bytea[]), CAST(:times AS timestamptz[])
  ) WITH ORDINALITY AS m (id, parent, speaker, text, said, at, place)
  ORDER BY m.place
), job AS (
  INSERT INTO jobs (job_id, kind, state, attempts, payload, queued_at, offered_at, user_id, conversation_id)
  SELECT CAST(:job_id AS varchar), CAST(:kind AS varchar), 'queued', 0, CAST(:payload AS jsonb),
    CAST(:now AS timestamptz), CAST(:now AS timestamptz), CAST(:user_id AS varchar), CAST(:conversation_id AS varchar)
  WHERE CAST(:remembered AS boolean)
), event AS (
  INSERT INTO outbox (message_id, kind, payload, user_id, conversation_id)
  SELECT CAST(:job_id AS varchar), CAST(:kind AS varchar), CAST(:payload AS jsonb), CAST(:user_id AS varchar),
    CAST(:conversation_id AS varchar)
  WHERE CAST(:remembered AS boolean)
)
"""
_KEEP = Statement(", ".join((_ROWS, _MOVE)))
_QUARANTINE = Statement("""
INSERT INTO quarantined_messages (message_id, reason, epoch, sequence, user_id, conversation_id, slots, payload, at)
VALUES (:message_id, :reason, :epoch, :sequence, :user_id, :conversation_id, :slots, :payload, :now)
""")


async def load_known(driver: Any, turn: TurnCompleted) -> Known:
    """One query for everything that the decision needs."""
    ((key_slot, forgotten, applied, owner, remembered, newest, parents),) = await _LOAD.fetch(
        driver,
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        turn_id=turn.turn_id,
        parents=[message.parent_id for message in turn.messages if message.parent_id],
    )
    return Known(key_slot, forgotten, applied, owner, remembered, newest, frozenset(parents))


async def keep(
    driver: Any,
    turn: TurnCompleted,
    messages: Sequence[KeptMessage],
    said: Mapping[str, bytes | None],
    position: Position,
    job_id: str,
    now: datetime,
    erase_after: datetime,
    *,
    remembered: bool,
) -> None:
    """Writes the conversation, the turn, its messages (whose parents were decided; ``said`` has their hashes by id),
    that it used what it recalled, the job that indexes it (where it is remembered), and the watermark."""
    request = IndexRequested(
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        message_ids=tuple(message.message_id for message in messages),
        job_id=job_id,
    )
    await _KEEP.fetch(
        driver,
        ids=list(request.message_ids),
        parents=[message.parent_id for message in messages],
        speakers=[message.speaker.value for message in messages],
        texts=[message.text.sealed for message in messages],
        said=[said.get(message.message_id) for message in messages],
        times=[message.at for message in messages],
        turn_id=turn.turn_id,
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        slot=messages[0].text.slot,
        epoch=position.epoch,
        sequence=position.sequence,
        model=turn.model,
        partial=turn.partial,
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=turn.completion_tokens,
        at=turn.at,
        newest=messages[-1].message_id,
        count=len(messages),
        job_id=job_id,
        kind=INDEX_KIND,
        payload=request.model_dump_json(),
        now=now,
        erase_after=erase_after,
        remembered=remembered,
        recalled=list(turn.recalled),
    )


async def advance(driver: Any, position: Position, erase_after: datetime | None) -> None:
    """Moves the watermark row to ``position``; the message there is erased from the stream once it is due."""
    await _ADVANCE.fetch(driver, epoch=position.epoch, sequence=position.sequence, erase_after=erase_after)


async def quarantine(
    driver: Any, turn: TurnCompleted, message_id: str, reason: str, position: Position, now: datetime
) -> None:
    """Keeps a turn that can't be applied, still sealed."""
    await _QUARANTINE.fetch(
        driver,
        message_id=message_id[:128],
        reason=reason,
        epoch=position.epoch,
        sequence=position.sequence,
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        slots=sorted({message.text.slot for message in turn.messages}),
        payload=turn.model_dump_json().encode(),
        now=now,
    )


async def quarantine_poison(driver: Any, poison: Poison, reason: str, now: datetime) -> None:
    """Keeps a message that isn't a turn; whose it was is not known."""
    await _QUARANTINE.fetch(
        driver,
        message_id=poison.message_id[:128],
        reason=reason,
        epoch=poison.position.epoch,
        sequence=poison.position.sequence,
        user_id=None,
        conversation_id=None,
        slots=[],
        payload=poison.body,
        now=now,
    )


async def read_watermark(session: AsyncSession) -> Position:
    """The watermark row."""
    row = (await session.scalars(select(WatermarkRow))).one()
    return Position(epoch=row.epoch, sequence=row.sequence)
