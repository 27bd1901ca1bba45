"""For whom keys may speak."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.accounts import KeyMapping, ListMappings, MappingRef
from libs.shared.errors import InvalidRequest, KeyNotFound, MappingNotFound
from libs.shared.scopes import ON_BEHALF_OF
from services.persistence.tables import ApiKeyRow, KeyMappingRow, UserRow
from services.persistence.tables.base import among

MOST_MAPPINGS = 1000
"""Told of one key or account."""


async def keep(
    session: AsyncSession, mapping_id: str, key_id: str, user: UserRow, now: datetime, *, accepted: bool
) -> KeyMapping:
    """The mapping, made or changed; what its account accepted stays so. Raises KeyNotFound, InvalidRequest."""
    key = await session.scalar(select(ApiKeyRow).where(ApiKeyRow.key_id == key_id))
    if key is None:
        raise KeyNotFound("there is no such key")
    if ON_BEHALF_OF not in key.scopes:
        raise InvalidRequest(f"the key was made without the scope {ON_BEHALF_OF}", errors=["key_id"])
    known = await session.get(KeyMappingRow, mapping_id, with_for_update=True)
    accepted = accepted or (known is not None and known.accepted and known.user_id == user.user_id)
    made = KeyMapping(
        mapping_id=mapping_id, key_id=key_id, user_id=user.user_id, name=user.name, created_at=now, accepted=accepted
    )
    statement = insert(KeyMappingRow).values(**made.model_dump(exclude={"name"}))
    changed = {"user_id": user.user_id, "created_at": now, "accepted": accepted}
    await session.execute(statement.on_conflict_do_update(index_elements=["mapping_id"], set_=changed))
    return made


async def accept(session: AsyncSession, wanted: MappingRef) -> None:
    """Raises MappingNotFound, for another account's too."""
    row = await session.get(KeyMappingRow, wanted.mapping_id, with_for_update=True)
    if row is None or row.user_id != wanted.user_id:
        raise MappingNotFound("there is no such mapping")
    row.accepted = True


async def remove(session: AsyncSession, mapping_id: str, user_id: str | None) -> str:
    """Whose it was. Raises MappingNotFound, for another account's too where ``user_id`` is given."""
    statement = delete(KeyMappingRow).where(KeyMappingRow.mapping_id == mapping_id)
    if user_id is not None:
        statement = statement.where(KeyMappingRow.user_id == user_id)
    removed: str | None = await session.scalar(statement.returning(KeyMappingRow.user_id))
    if removed is None:
        raise MappingNotFound("there is no such mapping")
    return removed


async def listed(session: AsyncSession, wanted: ListMappings) -> list[KeyMapping]:
    """Newest first."""
    statement = select(KeyMappingRow, UserRow.name).join(UserRow, UserRow.user_id == KeyMappingRow.user_id)
    if wanted.key_id is not None:
        statement = statement.where(KeyMappingRow.key_id == wanted.key_id)
    if wanted.user_id is not None:
        statement = statement.where(KeyMappingRow.user_id == wanted.user_id)
    statement = statement.order_by(KeyMappingRow.created_at.desc(), KeyMappingRow.mapping_id).limit(MOST_MAPPINGS)
    return [
        KeyMapping(
            mapping_id=row.mapping_id,
            key_id=row.key_id,
            user_id=row.user_id,
            name=name,
            created_at=row.created_at,
            accepted=row.accepted,
        )
        for row, name in (await session.execute(statement)).all()
    ]


async def meant(session: AsyncSession, mapping_ids: Sequence[str]) -> str | None:
    """The account that each of these stands for that is mapped, and accepted it; None where they differ, there is none,
    or it is disabled."""
    statement = (
        select(UserRow.user_id, UserRow.disabled)
        .join(KeyMappingRow, UserRow.user_id == KeyMappingRow.user_id)
        .where(among(KeyMappingRow.mapping_id, mapping_ids), KeyMappingRow.accepted)
        .distinct()
    )
    found = (await session.execute(statement)).all()
    return found[0][0] if len(found) == 1 and not found[0][1] else None
