"""What happened to changes, step by step; and what is tried out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.ledger import LONGEST_TRIAL, Change, ChangeState, Measured, Step, Trial
from services.persistence.repositories.ledger import as_change, find
from services.persistence.tables import ChangeRow, ChangeStepRow, LedgerHeadRow, TrialRow
from services.persistence.tables.base import among

_AT_ONCE = 1000


def as_step(row: ChangeStepRow) -> Step:
    """The step as it is shown, hashed and signed."""
    return Step(
        sequence=row.sequence,
        change_id=row.change_id,
        change_hash=row.change_hash,
        state=ChangeState(row.state),
        at=row.at,
        actor=row.actor,
        reason=row.reason,
        measured=tuple(Measured.model_validate(one, strict=False) for one in row.measured),
        previous_hash=row.previous_hash,
        hash=row.hash,
        key=row.key,
        signature=row.signature,
    )


async def append(session: AsyncSession, step: Step) -> None:
    """Adds a step at the locked head."""
    fields = step.model_dump(exclude={"state", "measured"})
    measured = [one.model_dump(mode="json") for one in step.measured]
    await session.execute(insert(ChangeStepRow).values(**fields, state=step.state.value, measured=measured))
    head = update(LedgerHeadRow).where(LedgerHeadRow.id == 1).values(step_sequence=step.sequence, step_hash=step.hash)
    await session.execute(head)


async def of_changes(session: AsyncSession, change_ids: Sequence[str]) -> dict[str, tuple[Step, ...]]:
    """Each change's steps, oldest first."""
    statement = select(ChangeStepRow).where(among(ChangeStepRow.change_id, change_ids))
    found = defaultdict[str, list[Step]](list)
    for row in await session.scalars(statement.order_by(ChangeStepRow.sequence)):
        found[row.change_id].append(as_step(row))
    return {change_id: tuple(steps) for change_id, steps in found.items()}


async def everything(session: AsyncSession) -> AsyncIterator[Step]:
    """All steps of all changes, oldest first."""
    after = 0
    while True:
        statement = select(ChangeStepRow).where(ChangeStepRow.sequence > after)
        rows = (await session.scalars(statement.order_by(ChangeStepRow.sequence).limit(_AT_ONCE))).all()
        for row in rows:
            yield as_step(row)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].sequence


async def without_steps(session: AsyncSession) -> Sequence[Change]:
    """Those that an earlier release recorded, in the order in which they came into their state."""
    stepped = select(ChangeStepRow.change_id)
    statement = select(ChangeRow).where(ChangeRow.change_id.not_in(stepped))
    rows = (await session.scalars(statement)).all()
    changes = map(as_change, rows)
    return sorted(changes, key=lambda change: ((change.decided or change.proposed).at, change.sequence))


async def setter_before(session: AsyncSession, change: Change) -> str | None:
    """The change of the same key that was applied last before ``change``, and stands: rolling back puts it in force."""
    statement = (
        select(ChangeRow.change_id)
        .join(ChangeStepRow, ChangeStepRow.change_id == ChangeRow.change_id)
        .where(
            ChangeRow.key == change.key,
            among(ChangeRow.state, (ChangeState.APPLIED.value, ChangeState.KEPT.value)),
            ChangeRow.change_id != change.change_id,
            ChangeStepRow.state == ChangeState.APPLIED.value,
        )
        .order_by(ChangeStepRow.sequence.desc())
        .limit(1)
    )
    found: str | None = await session.scalar(statement)
    return found


async def read_trial(session: AsyncSession) -> TrialRow | None:
    """As it is now, also within the transaction that began it."""
    return await session.scalar(select(TrialRow).execution_options(populate_existing=True))


async def trial_now(session: AsyncSession) -> Trial | None:
    """What is tried out, as services hear of it."""
    row = await read_trial(session)
    if row is None:
        return None
    change = await find(session, row.change_id)
    until = change.decided.at + LONGEST_TRIAL if change.decided is not None else None
    return Trial(change_id=row.change_id, key=change.key, value=change.after, share=row.share, until=until)


async def start_trial(session: AsyncSession, change_id: str, share: float) -> None:
    """One at a time."""
    await session.execute(upsert(TrialRow).values(id=1, change_id=change_id, share=share))


async def end_trial(session: AsyncSession) -> None:
    """None any more."""
    await session.execute(delete(TrialRow).execution_options(synchronize_session=False))
