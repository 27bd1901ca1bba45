"""Settings and changes to them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Page, Stamp
from libs.shared.contracts.ledger import (
    Change,
    ChangeRecorded,
    Changes,
    ChangeState,
    DecideChange,
    Decision,
    ProposeChange,
    ReadSettings,
    SettingsRead,
)
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.ledger import checked_value, decide, default_of, new_entry, settings_from
from services.persistence.outbox import CHANGE_KIND
from services.persistence.parts import Parts
from services.persistence.repositories import ledger, work


async def read_settings(_: ReadSettings, parts: Parts) -> SettingsRead:
    """What is in force."""
    async with parts.database.transaction() as session:
        rows = await ledger.read_settings(session)
    settings, _refused = settings_from({row.key: row.value for row in rows})
    return SettingsRead(settings=settings, last_change=rows[0].change_id if rows else None)


async def propose_change(request: ProposeChange, parts: Parts) -> Change:
    """A new entry, applied at once when it is an admin's own edit."""
    value = checked_value(request.key, request.value)
    stamp = Stamp(actor=request.actor, at=parts.clock())
    async with parts.database.transaction() as session:
        head = await ledger.lock_head(session)
        change = new_entry(
            change_id=parts.new_id(),
            sequence=head.sequence + 1,
            key=request.key,
            before=await _current(session, request.key),
            after=value,
            reason=request.reason,
            proposed=stamp,
            previous=head.hash,
        )
        await ledger.append(session, change)
        await _record(session, change, stamp)
        if request.apply:
            change = await decide_on(session, change, Decision.APPROVE, stamp)
    tell(parts)
    return change


async def decide_change(request: DecideChange, parts: Parts) -> Change:
    """Approves, rejects or rolls back."""
    async with parts.database.transaction() as session:
        await ledger.lock_head(session)
        change = await ledger.find(session, request.change_id)
        change = await decide_on(session, change, request.decision, Stamp(actor=request.actor, at=parts.clock()))
    tell(parts)
    return change


async def list_changes(request: Page, parts: Parts) -> Changes:
    """A page of the ledger."""
    before = decode_cursor(request.cursor, int)[0] if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await ledger.newest(session, request.limit, before)
    shown = rows[: request.limit]
    cursor = encode_cursor(shown[-1].sequence) if len(rows) > len(shown) else None
    return Changes(changes=tuple(map(ledger.as_change, shown)), next_cursor=cursor)


def tell(parts: Parts) -> None:
    """After the commit: what changed goes out."""
    parts.outbox.wake()
    parts.mirror.wake()


async def _current(session: AsyncSession, key: str) -> Any:
    row = await ledger.read_setting(session, key)
    return default_of(key) if row is None else row.value


async def decide_on(session: AsyncSession, change: Change, decision: Decision, stamp: Stamp) -> Change:
    """Within the transaction of whoever holds the head. Raises ChangeConflict."""
    row = await ledger.read_setting(session, change.key)
    current, setter = (default_of(change.key), None) if row is None else (row.value, row.change_id)
    state = decide(change, decision, current=current, last_change=setter)
    if state is ChangeState.APPLIED:
        await ledger.put_setting(session, change.key, change.after, change.change_id, stamp.at)
    elif state is ChangeState.ROLLED_BACK:
        await _restore(session, change, stamp)
    change = await ledger.set_state(session, change, state, stamp)
    await _record(session, change, stamp)
    return change


async def _restore(session: AsyncSession, change: Change, stamp: Stamp) -> None:
    setter = await ledger.setter_before(session, change)
    if setter is None:
        await ledger.remove_setting(session, change.key)
    else:
        await ledger.put_setting(session, change.key, change.before, setter, stamp.at)


async def _record(session: AsyncSession, change: Change, stamp: Stamp) -> None:
    recorded = ChangeRecorded(
        change_id=change.change_id, sequence=change.sequence, state=change.state, hash=change.hash, at=stamp.at
    )
    message_id = f"{change.change_id}-{change.state.value}"
    await work.add_event(session, message_id, CHANGE_KIND, recorded.model_dump(mode="json"))
