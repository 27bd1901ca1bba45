"""The ledger's entries, its head, and the settings that they set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, ListChanges
from libs.shared.errors import ChangeNotFound
from services.persistence.ledger import IN_FLIGHT
from services.persistence.tables import ChangeRow, LedgerHeadRow, SettingRow
from services.persistence.tables.base import among


def as_change(row: ChangeRow) -> Change:
    """The entry as it is shown and hashed."""
    decided = Stamp(actor=row.decided_by, at=row.decided_at) if row.decided_by and row.decided_at else None
    return Change(
        change_id=row.change_id,
        sequence=row.sequence,
        kind=ChangeKind(row.kind),
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
    statement = select(LedgerHeadRow).where(LedgerHeadRow.id == 1).with_for_update()
    return (await session.scalars(statement.execution_options(populate_existing=True))).one()


async def append(session: AsyncSession, change: Change) -> None:
    """Adds an entry at the locked head."""
    await session.execute(
        insert(ChangeRow).values(
            **change.model_dump(exclude={"proposed", "decided", "state", "kind", "in_force", "steps"}),
            kind=change.kind.value,
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


async def newest(session: AsyncSession, asked: ListChanges, before: int | None) -> Sequence[ChangeRow]:
    """Newest first, one more than the limit where there are more."""
    statement = select(ChangeRow).order_by(ChangeRow.sequence.desc()).limit(asked.limit + 1)
    if before is not None:
        statement = statement.where(ChangeRow.sequence < before)
    if asked.state is not None:
        statement = statement.where(ChangeRow.state == asked.state.value)
    if asked.key is not None:
        statement = statement.where(ChangeRow.key == asked.key)
    if asked.change_id is not None:
        statement = statement.where(ChangeRow.change_id == asked.change_id)
    if asked.decided_since is not None:
        statement = statement.where(ChangeRow.decided_at >= asked.decided_since)
    if asked.in_flight:
        statement = statement.where(among(ChangeRow.state, [state.value for state in IN_FLIGHT]))
    return (await session.scalars(statement)).all()


async def in_flight(session: AsyncSession, key: str, actor: str) -> str | None:
    """A change of this key that ``actor`` proposed, and that isn't kept, rejected or rolled back."""
    statement = select(ChangeRow.change_id).where(
        ChangeRow.key == key,
        ChangeRow.proposed_by == actor,
        among(ChangeRow.state, [state.value for state in IN_FLIGHT]),
    )
    found: str | None = await session.scalar(statement.limit(1))
    return found


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
