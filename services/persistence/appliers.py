"""What applying a change does, by its kind: in the transaction that records the step, so that both happen or none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.ledger import Change, ChangeKind
from libs.shared.errors import InvalidRequest
from services.persistence.ledger import checked_value, default_of
from services.persistence.repositories import ledger


class Held(NamedTuple):
    """A key's value now, and the change that set it; None: nothing did."""

    value: Any
    setter: str | None


class Applier(Protocol):
    """One kind of change. All but ``checked`` runs in the caller's transaction, with the ledger's head locked."""

    def checked(self, key: str, value: Any) -> Any:
        """The value as it would be held. Raises SettingUnknown, InvalidRequest."""
        ...

    async def held(self, session: AsyncSession, key: str) -> Held:
        """What is in force now."""
        ...

    async def apply(self, session: AsyncSession, change: Change, at: datetime) -> None:
        """Puts ``change.after`` in force."""
        ...

    async def restore(self, session: AsyncSession, change: Change, setter: str | None, at: datetime) -> None:
        """Puts ``change.before`` in force again, which the change ``setter`` had set; None: nothing had."""
        ...


class SettingApplier:
    """A field of RuntimeSettings; services hear of it from the bucket, after the commit."""

    def checked(self, key: str, value: Any) -> Any:
        return checked_value(key, value)

    async def held(self, session: AsyncSession, key: str) -> Held:
        row = await ledger.read_setting(session, key)
        return Held(default_of(key), None) if row is None else Held(row.value, row.change_id)

    async def apply(self, session: AsyncSession, change: Change, at: datetime) -> None:
        await ledger.put_setting(session, change.key, change.after, change.change_id, at)

    async def restore(self, session: AsyncSession, change: Change, setter: str | None, at: datetime) -> None:
        if setter is None:
            await ledger.remove_setting(session, change.key)
        else:
            await ledger.put_setting(session, change.key, change.before, setter, at)


Appliers = Mapping[ChangeKind, Applier]


def applier_of(appliers: Appliers, kind: ChangeKind) -> Applier:
    """Raises InvalidRequest for a kind that nothing here can apply."""
    found = appliers.get(kind)
    if found is None:
        raise InvalidRequest(f"nothing here applies changes of the kind {kind.value}", errors=["kind"])
    return found
