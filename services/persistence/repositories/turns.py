"""Kept turns: what applying has to know, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from libs.shared.bus.base import Poison
from libs.shared.contracts.common import Position
from libs.shared.contracts.memory import IndexRequested
from libs.shared.contracts.turns import KeptMessage, TurnCompleted
from services.persistence.tables import QuarantinedMessageRow, WatermarkRow

INDEX_KIND = "index_messages"


@dataclass(frozen=True)
class Known:
    """What the database knows of a turn that arrives."""

    key_slot: int | None
    """Of the user; None when there is no such user."""
    forgotten: bool
    """The user or the conversation has a tombstone."""
    applied: bool
    """The turn is there already."""
    conversation_owner: str | None
    newest_message_id: str | None
    parents: frozenset[str]
    """Those parents outside the turn that are in the conversation."""


# The next two run with every turn, so they are one statement each, in SQL: building the same from expressions takes
# eight times the processor time. A test holds their columns to the tables.

_LOAD = text("""
SELECT
  (SELECT key_slot FROM users WHERE user_id = :user_id),
  EXISTS (SELECT FROM tombstones WHERE kind = 'user' AND id = :user_id)
    OR EXISTS (SELECT FROM tombstones WHERE kind = 'conversation' AND id = :conversation_id),
  EXISTS (SELECT FROM turns WHERE turn_id = :turn_id),
  (SELECT user_id FROM conversations WHERE conversation_id = :conversation_id),
  (SELECT newest_message_id FROM conversations WHERE conversation_id = :conversation_id),
  ARRAY(
    SELECT message_id FROM messages
    WHERE conversation_id = :conversation_id AND message_id = ANY(CAST(:parents AS varchar[]))
  )
""")

_MOVE = """
dealt_with AS (
  INSERT INTO applied_positions (epoch, sequence, erase_after)
  SELECT :epoch, :sequence, CAST(:erase_after AS timestamptz) WHERE CAST(:erase_after AS timestamptz) IS NOT NULL
  ON CONFLICT DO NOTHING
)
UPDATE watermark SET
  epoch = :epoch,
  sequence = CASE WHEN epoch = :epoch THEN greatest(sequence, :sequence) ELSE :sequence END
WHERE id = 1
"""
_ADVANCE = text(" ".join(("WITH", _MOVE)))

_ROWS = """
WITH conversation AS (
  INSERT INTO conversations AS kept
    (conversation_id, user_id, newest_message_id, message_count, created_at, updated_at)
  VALUES (:conversation_id, :user_id, :newest, :count, :at, :at)
  ON CONFLICT (conversation_id) DO UPDATE SET
    newest_message_id = excluded.newest_message_id,
    message_count = kept.message_count + excluded.message_count,
    updated_at = greatest(kept.updated_at, excluded.updated_at)
), turn AS (
  INSERT INTO turns (turn_id, user_id, conversation_id, slot, epoch, sequence, model, partial,
    prompt_tokens, completion_tokens, at)
  VALUES (:turn_id, :user_id, :conversation_id, :slot, :epoch, :sequence, :model, :partial,
    :prompt_tokens, :completion_tokens, :at)
), message AS (
  INSERT INTO messages (message_id, user_id, conversation_id, turn_id, parent_id, speaker, text, slot, partial, at)
  SELECT m.id, :user_id, :conversation_id, :turn_id, m.parent, m.speaker, m.text, :slot,
    :partial AND m.speaker = 'assistant', m.at
  FROM unnest(
    CAST(:ids AS varchar[]), CAST(:parents AS varchar[]), CAST(:speakers AS varchar[]), CAST(:texts AS bytea[]),
    CAST(:times AS timestamptz[])
  ) WITH ORDINALITY AS m (id, parent, speaker, text, at, place)
  ORDER BY m.place
), job AS (
  INSERT INTO jobs (job_id, kind, state, attempts, queued_at, user_id, conversation_id)
  VALUES (:job_id, :kind, 'queued', 0, :now, :user_id, :conversation_id)
), event AS (
  INSERT INTO outbox (message_id, kind, payload, user_id, conversation_id)
  VALUES (:job_id, :kind, CAST(:payload AS jsonb), :user_id, :conversation_id)
)
"""
_KEEP = text(", ".join((_ROWS, _MOVE)))


async def load_known(connection: AsyncConnection, turn: TurnCompleted) -> Known:
    """One query for everything that the decision needs."""
    found = await connection.execute(
        _LOAD,
        {
            "user_id": turn.user_id,
            "conversation_id": turn.conversation_id,
            "turn_id": turn.turn_id,
            "parents": [message.parent_id for message in turn.messages if message.parent_id],
        },
    )
    key_slot, forgotten, applied, owner, newest, parents = found.one()
    return Known(key_slot, forgotten, applied, owner, newest, frozenset(parents))


async def keep(
    connection: AsyncConnection,
    turn: TurnCompleted,
    messages: Sequence[KeptMessage],
    position: Position,
    job_id: str,
    now: datetime,
    erase_after: datetime,
) -> None:
    """Writes the conversation, the turn, its messages (whose parents were decided), the job that indexes them, and
    the watermark."""
    request = IndexRequested(
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        message_ids=tuple(message.message_id for message in messages),
    )
    columns = {
        "ids": [message.message_id for message in messages],
        "parents": [message.parent_id for message in messages],
        "speakers": [message.speaker.value for message in messages],
        "texts": [message.text.sealed for message in messages],
        "times": [message.at for message in messages],
    }
    values = columns | {
        "turn_id": turn.turn_id,
        "user_id": turn.user_id,
        "conversation_id": turn.conversation_id,
        "slot": messages[0].text.slot,
        "epoch": position.epoch,
        "sequence": position.sequence,
        "model": turn.model,
        "partial": turn.partial,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "at": turn.at,
        "newest": messages[-1].message_id,
        "count": len(messages),
        "job_id": job_id,
        "kind": INDEX_KIND,
        "payload": request.model_dump_json(),
        "now": now,
        "erase_after": erase_after,
    }
    await connection.execute(_KEEP, values)


async def advance(connection: AsyncConnection, position: Position, erase_after: datetime | None) -> None:
    """Moves the watermark row to ``position``; the message there is erased from the stream once it is due."""
    values = {"epoch": position.epoch, "sequence": position.sequence, "erase_after": erase_after}
    await connection.execute(_ADVANCE, values)


async def quarantine(
    connection: AsyncConnection, turn: TurnCompleted, message_id: str, reason: str, position: Position, now: datetime
) -> None:
    """Keeps a turn that can't be applied, still sealed."""
    await connection.execute(
        insert(QuarantinedMessageRow).values(
            message_id=message_id[:128],
            reason=reason,
            epoch=position.epoch,
            sequence=position.sequence,
            user_id=turn.user_id,
            conversation_id=turn.conversation_id,
            slots=sorted({message.text.slot for message in turn.messages}),
            payload=turn.model_dump_json().encode(),
            at=now,
        )
    )


async def quarantine_poison(connection: AsyncConnection, poison: Poison, reason: str, now: datetime) -> None:
    """Keeps a message that isn't a turn; whose it was is not known."""
    await connection.execute(
        insert(QuarantinedMessageRow).values(
            message_id=poison.message_id[:128],
            reason=reason,
            epoch=poison.position.epoch,
            sequence=poison.position.sequence,
            slots=[],
            payload=poison.body,
            at=now,
        )
    )


async def read_watermark(session: AsyncSession) -> Position:
    """The watermark row."""
    row = (await session.scalars(select(WatermarkRow))).one()
    return Position(epoch=row.epoch, sequence=row.sequence)
