"""What a change of the kind ``digest`` does: a generation of a user's digests comes into force, or the one before it.

Within the transaction that records the step. Nothing else puts digests in force.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.bus import Bus
from libs.shared.contracts.digests import KEY, InForceValue
from libs.shared.contracts.ledger import Change
from libs.shared.errors import ChangeConflict, InvalidRequest, SettingUnknown
from services.persistence.announcing import announce_memory_changed
from services.persistence.appliers import Held
from services.persistence.repositories import digests


class DigestApplier:
    """The generations of users' digests."""

    def checked(self, key: str, value: Any) -> Any:
        """The value as it is held; None: none is to be in force. Raises SettingUnknown, InvalidRequest."""
        user_of(key)
        if value is None:
            return None
        try:
            return InForceValue.model_validate(value).model_dump(mode="json")
        except ValidationError:
            raise InvalidRequest("a generation of digests and the commitment to it", errors=["value"]) from None

    async def held(self, session: AsyncSession, key: str) -> Held:
        found = await digests.held(await driver_of(session), user_of(key))
        if found is None:
            return Held(None, None)
        generation, commitment, setter = found
        return Held(InForceValue(generation=generation, commitment=commitment).model_dump(mode="json"), setter)

    async def apply(self, session: AsyncSession, change: Change, at: datetime) -> None:
        """Raises ChangeConflict where the generation is gone, or isn't what was committed to."""
        await _put(session, change.key, change.after, change.change_id)

    async def restore(self, session: AsyncSession, change: Change, setter: str | None, at: datetime) -> None:
        """The former generation, or none."""
        await _put(session, change.key, change.before, setter)


async def announce(bus: Bus, key: str) -> None:
    """After the commit: whoever keeps something of this user's memory asks anew."""
    await announce_memory_changed(bus, user_of(key))


async def _put(session: AsyncSession, key: str, value: Any, setter: str | None) -> None:
    driver, user_id = await driver_of(session), user_of(key)
    await digests.lock(driver, user_id)
    await digests.take_out_of_force(driver, user_id)
    if value is None:
        return
    wanted = InForceValue.model_validate(value)
    if not await digests.put_in_force(driver, user_id, wanted.generation, wanted.commitment, setter):
        raise ChangeConflict("this generation of digests is gone: it is made anew in another night")


def user_of(key: str) -> str:
    """Raises SettingUnknown."""
    user_id = key.removeprefix(KEY)
    if user_id == key or not user_id:
        raise SettingUnknown("digests are put in force for one user")
    return user_id


async def driver_of(session: AsyncSession) -> Any:
    """The asyncpg connection of a session, in its transaction: SQLAlchemy begins that with its own first statement, and
    what went before it would be committed by itself."""
    await session.execute(text("SELECT"))
    return (await (await session.connection()).get_raw_connection()).driver_connection
