"""The outbox, jobs, and what housekeeping removes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    any_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Position
from libs.shared.contracts.jobs import FinishJob, Job, JobState
from services.persistence.postgres import Statement
from services.persistence.repositories.turns import INDEX_KIND
from services.persistence.tables import (
    AppliedPositionRow,
    ConversationRow,
    FactRow,
    ForgettingRow,
    JobRow,
    OutboxRow,
    QuarantinedMessageRow,
    SegmentRow,
    TurnRow,
    UserRow,
)

_ERROR_LENGTH = 200


async def add_event(session: AsyncSession, message_id: str, kind: str, payload: object) -> None:
    """An event to publish after the commit."""
    await session.execute(insert(OutboxRow).values(message_id=message_id, kind=kind, payload=payload))


_OLDEST = Statement("SELECT id, message_id, kind, CAST(payload AS text) FROM outbox ORDER BY id LIMIT :most")
_REMOVE = Statement("DELETE FROM outbox WHERE id = ANY(CAST(:ids AS bigint[]))")


@dataclass(frozen=True)
class WaitingEvent:
    """An event that the stream does not have yet; ``payload`` is JSON."""

    id: int
    message_id: str
    kind: str
    payload: str


async def oldest_events(driver: Any, most: int) -> list[WaitingEvent]:
    """What is to be published, in order."""
    return [WaitingEvent(*row) for row in await _OLDEST.fetch(driver, most=most)]


async def remove_events(driver: Any, ids: Sequence[int]) -> None:
    """The stream has them."""
    await _REMOVE.fetch(driver, ids=list(ids))


def as_job(row: JobRow) -> Job:
    """The job as operators see it."""
    return Job(
        job_id=row.job_id,
        kind=row.kind,
        state=JobState(row.state),
        attempts=row.attempts,
        error=row.error,
        queued_at=row.queued_at,
        finished_at=row.finished_at,
    )


async def list_jobs(
    session: AsyncSession, state: JobState | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[JobRow]:
    """Newest first, one more than ``limit`` where there are more."""
    statement = select(JobRow).order_by(JobRow.queued_at.desc(), JobRow.job_id.desc()).limit(limit + 1)
    if state is not None:
        statement = statement.where(JobRow.state == state.value)
    if before is not None:
        statement = statement.where(tuple_(JobRow.queued_at, JobRow.job_id) < tuple_(*map(literal, before)))
    return (await session.scalars(statement)).all()


async def finish_job(session: AsyncSession, report: FinishJob, now: datetime) -> bool:
    """Whether the job was still open. A report of ``queued`` counts an attempt that failed and will be repeated."""
    finished = report.state is not JobState.QUEUED
    statement = (
        update(JobRow)
        .where(JobRow.job_id == report.job_id, JobRow.state == JobState.QUEUED.value)
        .values(
            state=report.state.value,
            error=report.error[:_ERROR_LENGTH] if report.error else None,
            attempts=JobRow.attempts + 1,
            finished_at=now if finished else None,
        )
        .returning(JobRow.job_id)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).first() is not None


_FINISH = Statement("""
UPDATE jobs SET state = 'done', error = NULL, attempts = attempts + 1, finished_at = :now
WHERE job_id = ANY(CAST(:job_ids AS varchar[])) AND user_id = :user_id AND state <> 'done'
""")


async def finish_jobs(driver: Any, user_id: str, job_ids: Sequence[str], now: datetime) -> None:
    """They are done, those that had failed before too; of another user's none is."""
    await _FINISH.fetch(driver, user_id=user_id, job_ids=list(job_ids), now=now)


_AWAITING_INDEX = Statement("""
SELECT DISTINCT named.id FROM jobs AS j
CROSS JOIN LATERAL jsonb_array_elements_text(j.payload->'message_ids') AS named (id)
WHERE j.user_id = :user_id AND j.kind = :kind AND j.state <> 'done' AND named.id = ANY(CAST(:ids AS varchar[]))
""")


async def awaiting_index(driver: Any, user_id: str, message_ids: Sequence[str]) -> list[str]:
    """Those of the memories that an index job names which isn't done, in the order asked."""
    rows = await _AWAITING_INDEX.fetch(driver, user_id=user_id, kind=INDEX_KIND, ids=list(message_ids))
    named = {row[0] for row in rows}
    return [message_id for message_id in message_ids if message_id in named]


_REPEAT = Statement("""
WITH due AS (
  SELECT job_id FROM jobs WHERE state <> 'done' AND kind = :kind AND (offered_at > CAST(:now AS timestamptz) OR
    offered_at < CAST(:now AS timestamptz)
      - CAST(:rest AS interval) * power(2, least(greatest(attempts - 1, 0), :most_doublings)))
  ORDER BY offered_at LIMIT :most FOR UPDATE SKIP LOCKED
), again AS (
  UPDATE jobs SET state = 'queued', finished_at = NULL, offered_at = :now FROM due WHERE jobs.job_id = due.job_id
  RETURNING jobs.kind, payload, user_id, conversation_id
)
INSERT INTO outbox (message_id, kind, payload, user_id, conversation_id)
SELECT replace(CAST(gen_random_uuid() AS varchar), '-', ''), kind, payload, user_id, conversation_id FROM again
RETURNING id
""")
_MOST_DOUBLINGS = 8


async def repeat_jobs(driver: Any, kind: str, now: datetime, rest: timedelta, most: int) -> int:
    """Puts the events of jobs that failed, or that nobody reported on, into the outbox again; how many.

    Each rests for ``rest`` after it was offered, and for twice as long after each further failure. One that was
    offered in the future was so before the clock was set back, and rests no longer.
    """
    rows = await _REPEAT.fetch(driver, kind=kind, now=now, rest=rest, most=most, most_doublings=_MOST_DOUBLINGS)
    return len(rows)


async def remove_finished_jobs(session: AsyncSession, before: datetime, most: int, *, repeated: str) -> int:
    """Removes jobs that ended before ``before``; one of the ``repeated`` kind that failed has not ended."""
    ended = or_(JobRow.state == JobState.DONE.value, JobRow.kind != repeated)
    old = select(JobRow.job_id).where(JobRow.finished_at < before, ended).limit(most)
    removed = delete(JobRow).where(JobRow.job_id.in_(old)).returning(JobRow.job_id)
    return len((await session.scalars(removed.execution_options(synchronize_session=False))).all())


async def positions_due(session: AsyncSession, now: datetime, most: int) -> tuple[Position, ...]:
    """Messages to erase from the stream, longest due first."""
    statement = (
        select(AppliedPositionRow.epoch, AppliedPositionRow.sequence)
        .where(AppliedPositionRow.erase_after <= now)
        .order_by(AppliedPositionRow.erase_after)
        .limit(most)
    )
    return tuple(Position(epoch=epoch, sequence=sequence) for epoch, sequence in await session.execute(statement))


async def remove_positions(session: AsyncSession, positions: Sequence[Position]) -> None:
    """They are erased."""
    key = tuple_(AppliedPositionRow.epoch, AppliedPositionRow.sequence)
    chosen = [(position.epoch, position.sequence) for position in positions]
    await session.execute(
        delete(AppliedPositionRow).where(key.in_(chosen)).execution_options(synchronize_session=False)
    )


async def referenced_slots(session: AsyncSession) -> set[int]:
    """Every slot that a row needs."""
    return set((await session.scalars(union_all(*_slot_columns()))).all())


async def slots_of_keys(session: AsyncSession, most_users: int) -> tuple[tuple[int, ...], int]:
    """Slots of the oldest users' keys, and the last slot of a kept turn (-1: there is none)."""
    users = await session.scalars(select(UserRow.key_slot).order_by(UserRow.created_at).limit(most_users))
    last = await session.scalar(select(func.max(TurnRow.slot)))
    return tuple(users.all()), -1 if last is None else last


async def slots_needed(session: AsyncSession, slots: Collection[int]) -> set[int]:
    """Those of ``slots`` that a row needs."""
    needed = union_all(*_slot_columns()).subquery()
    column = needed.c[0]
    statement = select(column).where(column == any_(literal(list(slots), ARRAY(BigInteger))))
    return set((await session.scalars(statement)).all())


def needed_slots_sql() -> str:
    """The same as a statement for asyncpg, but for those that a forgetting is about to destroy."""
    columns = (column for column in _slot_columns() if ForgettingRow.__table__ not in column.get_final_froms())
    return str(union(*columns).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # sqlalchemy's own


def _slot_columns() -> tuple[Select[Any], ...]:
    return (
        select(UserRow.key_slot.label("slot")),
        select(TurnRow.slot),
        select(ConversationRow.title_slot).where(ConversationRow.title_slot.is_not(None)),
        select(FactRow.slot),
        select(SegmentRow.slot),
        select(func.unnest(QuarantinedMessageRow.slots)),
        select(func.unnest(ForgettingRow.slots)),
    )


async def trim_quarantine(session: AsyncSession, most: int) -> None:
    """Keeps the newest ``most`` quarantined messages."""
    newest = select(QuarantinedMessageRow.id).order_by(QuarantinedMessageRow.id.desc()).limit(most).subquery()
    oldest_kept = select(func.min(newest.c.id)).scalar_subquery()
    statement = delete(QuarantinedMessageRow).where(QuarantinedMessageRow.id < oldest_kept)
    await session.execute(statement.execution_options(synchronize_session=False))
