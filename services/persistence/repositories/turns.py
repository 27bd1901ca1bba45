"""Kept turns: what applying has to know, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, exists, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.bus.base import Poison
from libs.shared.contracts.common import Position
from libs.shared.contracts.jobs import JobState
from libs.shared.contracts.memory import IndexRequested
from libs.shared.contracts.turns import KeptMessage, TurnCompleted
from services.persistence.tables import (
    AppliedPositionRow,
    ConversationRow,
    JobRow,
    MessageRow,
    OutboxRow,
    QuarantinedMessageRow,
    TombstoneRow,
    TurnRow,
    UserRow,
    WatermarkRow,
)
from services.persistence.tables.base import among

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


async def load_known(session: AsyncSession, turn: TurnCompleted) -> Known:
    """One query for everything that the decision needs."""
    conversation = ConversationRow.conversation_id == turn.conversation_id
    parents = [message.parent_id for message in turn.messages if message.parent_id]
    graves = (TombstoneRow.kind == "user") & (TombstoneRow.id == turn.user_id) | (
        (TombstoneRow.kind == "conversation") & (TombstoneRow.id == turn.conversation_id)
    )
    found = (
        await session.execute(
            select(
                select(UserRow.key_slot).where(UserRow.user_id == turn.user_id).scalar_subquery(),
                exists().where(graves),
                exists().where(TurnRow.turn_id == turn.turn_id),
                select(ConversationRow.user_id).where(conversation).scalar_subquery(),
                select(ConversationRow.newest_message_id).where(conversation).scalar_subquery(),
                select(func.array_agg(MessageRow.message_id))
                .where(MessageRow.conversation_id == turn.conversation_id, among(MessageRow.message_id, parents))
                .scalar_subquery(),
            )
        )
    ).one()
    return Known(found[0], found[1], found[2], found[3], found[4], frozenset(found[5] or ()))


async def add_turn(
    session: AsyncSession, turn: TurnCompleted, messages: Sequence[KeptMessage], position: Position
) -> None:
    """Writes the conversation, the turn and its messages (whose parents were decided)."""
    heading = {"newest_message_id": messages[-1].message_id, "updated_at": turn.at}
    await session.execute(
        upsert(ConversationRow)
        .values(
            conversation_id=turn.conversation_id,
            user_id=turn.user_id,
            message_count=len(messages),
            created_at=turn.at,
            **heading,
        )
        .on_conflict_do_update(
            index_elements=[ConversationRow.conversation_id],
            set_={
                "newest_message_id": heading["newest_message_id"],
                "updated_at": func.greatest(ConversationRow.updated_at, turn.at),
                "message_count": ConversationRow.message_count + len(messages),
            },
        )
    )
    await session.execute(insert(TurnRow).values(**_turn_values(turn, position)))
    await session.execute(insert(MessageRow).values([_message_values(turn, message) for message in messages]))


def _turn_values(turn: TurnCompleted, position: Position) -> dict[str, object]:
    copied = turn.model_dump(
        include={"turn_id", "user_id", "conversation_id", "model", "partial", "prompt_tokens", "completion_tokens"}
    )
    slot = turn.messages[0].text.slot
    return copied | {"at": turn.at, "slot": slot, "epoch": position.epoch, "sequence": position.sequence}


def _message_values(turn: TurnCompleted, message: KeptMessage) -> dict[str, object]:
    return {
        "message_id": message.message_id,
        "user_id": turn.user_id,
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "parent_id": message.parent_id,
        "speaker": message.speaker.value,
        "text": message.text.sealed,
        "slot": message.text.slot,
        "partial": turn.partial and message.speaker == "assistant",
        "at": message.at,
    }


async def add_index_job(session: AsyncSession, turn: TurnCompleted, job_id: str, now: datetime) -> None:
    """The job that makes the turn searchable, and the event that carries it."""
    owner = {"user_id": turn.user_id, "conversation_id": turn.conversation_id}
    request = IndexRequested(**owner, message_ids=tuple(message.message_id for message in turn.messages))
    job = insert(JobRow).values(
        job_id=job_id, kind=INDEX_KIND, state=JobState.QUEUED.value, attempts=0, queued_at=now, **owner
    )
    await session.execute(
        insert(OutboxRow)
        .values(message_id=job_id, kind=INDEX_KIND, payload=request.model_dump(mode="json"), **owner)
        .add_cte(job.cte("job"))
    )


async def quarantine(
    session: AsyncSession, turn: TurnCompleted, message_id: str, reason: str, position: Position, now: datetime
) -> None:
    """Keeps a turn that can't be applied, still sealed."""
    await session.execute(
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


async def quarantine_poison(session: AsyncSession, poison: Poison, reason: str, now: datetime) -> None:
    """Keeps a message that isn't a turn; whose it was is not known."""
    await session.execute(
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


async def advance(session: AsyncSession, position: Position, erase_after: datetime | None) -> None:
    """Moves the watermark row to ``position``; the message there is erased from the stream once it is due."""
    moved = (
        update(WatermarkRow)
        .where(WatermarkRow.id == 1)
        .values(
            epoch=position.epoch,
            sequence=case(
                (WatermarkRow.epoch == position.epoch, func.greatest(WatermarkRow.sequence, position.sequence)),
                else_=literal(position.sequence),
            ),
        )
    )
    if erase_after is not None:
        moved = moved.add_cte(
            upsert(AppliedPositionRow)
            .values(epoch=position.epoch, sequence=position.sequence, erase_after=erase_after)
            .on_conflict_do_nothing()
            .cte("dealt_with")
        )
    await session.execute(moved.execution_options(synchronize_session=False))


async def read_watermark(session: AsyncSession) -> Position:
    """The watermark row."""
    row = (await session.scalars(select(WatermarkRow))).one()
    return Position(epoch=row.epoch, sequence=row.sequence)
