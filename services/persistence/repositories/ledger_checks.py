"""Holding the whole ledger against itself; and which changes are in force."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.ledger import Change, LedgerVerified
from services.persistence.ledger import broken_link
from services.persistence.repositories import steps
from services.persistence.repositories.ledger import as_change
from services.persistence.steps import Head, broken_step
from services.persistence.tables import ChangeRow, DigestGenerationRow, LedgerHeadRow, SettingRow, TrialRow

_AT_ONCE = 1000


async def everything(session: AsyncSession) -> list[Change]:
    """All entries, oldest first."""
    changes: list[Change] = []
    while True:
        after = changes[-1].sequence if changes else 0
        statement = select(ChangeRow).where(ChangeRow.sequence > after).order_by(ChangeRow.sequence).limit(_AT_ONCE)
        found = (await session.scalars(statement)).all()
        changes += map(as_change, found)
        if len(found) < _AT_ONCE:
            return changes


async def verified(session: AsyncSession, key: str) -> LedgerVerified:
    """Every hash, link and signature, and that each change's state is its last step's. Reads the whole ledger."""
    head = (await session.scalars(select(LedgerHeadRow).execution_options(populate_existing=True))).one()
    changes = await everything(session)
    told = [step async for step in steps.everything(session)]
    by_id = {change.change_id: change for change in changes}
    return LedgerVerified(
        changes=len(changes),
        steps=len(told),
        entry_broken_at=broken_link(changes, head_sequence=head.sequence, head_hash=head.hash),
        broken_at=broken_step(told, by_id, head=Head(head.step_sequence, head.step_hash), key=key),
        key=key,
    )


async def in_force(session: AsyncSession) -> frozenset[str]:
    """The changes whose values hold now, and the one that is tried out."""
    settings = (await session.scalars(select(SettingRow.change_id))).all()
    trials = (await session.scalars(select(TrialRow.change_id))).all()
    digests = await session.scalars(select(DigestGenerationRow.change_id).where(DigestGenerationRow.in_force))
    return frozenset((*settings, *trials, *(change for change in digests if change is not None)))
