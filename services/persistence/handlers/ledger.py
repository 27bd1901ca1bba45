"""Settings and changes to them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import (
    OPTIMIZER_ACTOR,
    Change,
    ChangeKind,
    Changes,
    ChangeState,
    DecideChange,
    Decision,
    LedgerVerified,
    ListChanges,
    ProposeChange,
    ReadSettings,
    SettingsRead,
    VerifyLedger,
)
from libs.shared.contracts.runtime_settings import Trying, trying
from libs.shared.errors import ChangeConflict, InvalidRequest
from services.persistence.announcing import announce_change
from services.persistence.appliers import Held, applier_of
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.deciding import Said
from services.persistence.digest_changes import announce
from services.persistence.ledger import new_entry, settings_from
from services.persistence.parts import Parts
from services.persistence.repositories import ledger, ledger_checks, steps


async def read_settings(_: ReadSettings, parts: Parts) -> SettingsRead:
    """What is in force."""
    async with parts.database.transaction() as session:
        rows = await ledger.read_settings(session)
        trial = await steps.trial_now(session)
    settings, _refused = settings_from({row.key: row.value for row in rows})
    return SettingsRead(settings=settings, last_change=rows[0].change_id if rows else None, trial=trial)


async def propose_change(request: ProposeChange, parts: Parts) -> Change:
    """A new entry, applied at once when it is an admin's own edit."""
    applier = applier_of(parts.ledger.appliers, request.kind)
    value = applier.checked(request.key, request.value)
    said = Said(Stamp(actor=request.actor, at=parts.clock()), request.reason, request.measured)
    async with parts.database.transaction() as session:
        head = await ledger.lock_head(session)
        if request.actor == OPTIMIZER_ACTOR:
            await _check_proposal(session, request)
        held: Held = await applier.held(session, request.key)
        change = new_entry(
            change_id=parts.new_id(),
            sequence=head.sequence + 1,
            kind=request.kind,
            key=request.key,
            before=held.value,
            after=value,
            reason=request.reason,
            proposed=said.stamp,
            previous=head.hash,
        )
        await ledger.append(session, change)
        change = await parts.ledger.record(session, change, ChangeState.PROPOSED, said)
        if request.apply:
            change = await parts.ledger.decide(session, change, Decision.APPROVE, Said(said.stamp, said.reason))
    await _told(change, parts)
    return change


async def _check_proposal(session: AsyncSession, request: ProposeChange) -> None:
    """What the optimizer may propose: nothing that people alone set, nothing at once, and one thing a key at a time."""
    if Trying.BY_PEOPLE in trying(request.key):
        raise InvalidRequest("only people set this", errors=["key"])
    if request.apply:
        raise InvalidRequest("what the optimizer proposes is measured before it is applied", errors=["apply"])
    waiting = await ledger.in_flight(session, request.key, OPTIMIZER_ACTOR)
    if waiting is not None:
        raise ChangeConflict("another change of this is not decided yet", last_change=waiting)


async def decide_change(request: DecideChange, parts: Parts) -> Change:
    """Accepts, tries out, applies, keeps, approves, rejects or rolls back."""
    stamp = Stamp(actor=request.actor, at=parts.clock())
    said = Said(stamp, request.reason, request.measured, request.share)
    async with parts.database.transaction() as session:
        await ledger.lock_head(session)
        change = await ledger.find(session, request.change_id)
        change = await parts.ledger.decide(session, change, request.decision, said)
    await _told(change, parts)
    return change


async def list_changes(request: ListChanges, parts: Parts) -> Changes:
    """A page of the ledger."""
    before = decode_cursor(request.cursor, int)[0] if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await ledger.newest(session, request, before)
        shown = list(map(ledger.as_change, rows[: request.limit]))
        in_force = await ledger_checks.in_force(session)
        ids = [change.change_id for change in shown]
        told = await steps.of_changes(session, ids) if request.steps else {}
    cursor = encode_cursor(shown[-1].sequence) if len(rows) > len(shown) else None
    changes = (
        change.model_copy(
            update={"in_force": change.change_id in in_force, "steps": told.get(change.change_id, ())},
        )
        for change in shown
    )
    return Changes(changes=tuple(changes), next_cursor=cursor)


async def verify_ledger(_: VerifyLedger, parts: Parts) -> LedgerVerified:
    """Whether every entry and every step is what was recorded."""
    async with parts.database.transaction() as session:
        return await ledger_checks.verified(session, parts.ledger.signer.key)


async def _told(change: Change, parts: Parts) -> None:
    tell(parts)
    await announce_change(parts.bus, change)
    if change.kind is ChangeKind.DIGEST:
        await announce(parts.bus, change.key)


def tell(parts: Parts) -> None:
    """After the commit: what changed goes out."""
    parts.outbox.wake()
    parts.mirror.wake()
