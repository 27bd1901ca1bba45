"""The ledger's entries, its head, and the settings that they set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeState
from libs.shared.errors import ChangeNotFound
from services.persistence.ledger import broken_link
from services.persistence.tables import ChangeRow, LedgerHeadRow, SettingRow

_AT_ONCE = 1000


def as_change(row: ChangeRow) -> Change:
    """The entry as it is shown and hashed."""
    decided = Stamp(actor=row.decided_by, at=row.decided_at) if row.decided_by and row.decided_at else None
    return Change(
        change_id=row.change_id,
        sequence=row.sequence,
        key=row.key,
        before=row.before,
        after=row.after,
        reason=row.reason,
        state=ChangeState(row.state),
        proposed=Stamp(actor=row.proposed_by, at=row.proposed_at),
        decided=decided,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


async def lock_head(session: AsyncSession) -> LedgerHeadRow:
    """The end of the chain; whoever appends or decides holds it until the commit."""
    return (await session.scalars(select(LedgerHeadRow).where(LedgerHeadRow.id == 1).with_for_update())).one()


async def append(session: AsyncSession, change: Change) -> None:
    """Adds an entry at the locked head."""
    await session.execute(
        insert(ChangeRow).values(
            **change.model_dump(exclude={"proposed", "decided", "state"}),
            state=change.state.value,
            proposed_by=change.proposed.actor,
            proposed_at=change.proposed.at,
        )
    )
    head = update(LedgerHeadRow).where(LedgerHeadRow.id == 1).values(sequence=change.sequence, hash=change.hash)
    await session.execute(head)


async def find(session: AsyncSession, change_id: str) -> Change:
    """Raises ChangeNotFound."""
    row = await session.scalar(select(ChangeRow).where(ChangeRow.change_id == change_id))
    if row is None:
        raise ChangeNotFound("there is no such change")
    return as_change(row)


async def set_state(session: AsyncSession, change: Change, state: ChangeState, decided: Stamp) -> Change:
    """Records the decision."""
    values = {"state": state.value, "decided_by": decided.actor, "decided_at": decided.at}
    await session.execute(
        update(ChangeRow)
        .where(ChangeRow.change_id == change.change_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return change.model_copy(update={"state": state, "decided": decided})


async def newest(session: AsyncSession, limit: int, before: int | None) -> Sequence[ChangeRow]:
    """Newest first, one more than ``limit`` where there are more."""
    statement = select(ChangeRow).order_by(ChangeRow.sequence.desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(ChangeRow.sequence < before)
    return (await session.scalars(statement)).all()


async def read_setting(session: AsyncSession, key: str) -> SettingRow | None:
    """As it is now, also within the transaction that set it; None where the default holds."""
    statement = select(SettingRow).where(SettingRow.key == key).execution_options(populate_existing=True)
    return await session.scalar(statement)


async def read_settings(session: AsyncSession) -> Sequence[SettingRow]:
    """Every setting that something set, the last set first."""
    return (await session.scalars(select(SettingRow).order_by(SettingRow.set_at.desc(), SettingRow.key))).all()


async def put_setting(session: AsyncSession, key: str, value: Any, change_id: str, now: datetime) -> None:
    """Sets a value."""
    values = {"value": value, "change_id": change_id, "set_at": now}
    statement = upsert(SettingRow).values(key=key, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[SettingRow.key], set_=values))


async def remove_setting(session: AsyncSession, key: str) -> None:
    """Lets the default hold again."""
    await session.execute(delete(SettingRow).where(SettingRow.key == key).execution_options(synchronize_session=False))


async def setter_before(session: AsyncSession, change: Change) -> str | None:
    """The applied change of the same key before ``change``, which a rollback puts in force again."""
    statement = (
        select(ChangeRow.change_id)
        .where(
            ChangeRow.key == change.key,
            ChangeRow.state == ChangeState.APPLIED.value,
            ChangeRow.change_id != change.change_id,
        )
        .order_by(ChangeRow.decided_at.desc(), ChangeRow.sequence.desc())
        .limit(1)
    )
    found: str | None = await session.scalar(statement)
    return found


async def verify(session: AsyncSession) -> int | None:
    """The sequence of the first entry that doesn't fit the chain; None when all fit. Reads the whole ledger."""
    head = (await session.scalars(select(LedgerHeadRow))).one()
    count = await session.scalar(select(func.count()).select_from(ChangeRow)) or 0
    changes: list[Change] = []
    while len(changes) < count:
        after = changes[-1].sequence if changes else 0
        statement = select(ChangeRow).where(ChangeRow.sequence > after).order_by(ChangeRow.sequence).limit(_AT_ONCE)
        found = (await session.scalars(statement)).all()
        if not found:
            break
        changes += [as_change(row) for row in found]
    return broken_link(changes, head_sequence=head.sequence, head_hash=head.hash)
