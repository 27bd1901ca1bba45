"""Accounts and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.accounts import ApiKey, CreateKey, CreateUser, User, UserRef
from libs.shared.contracts.common import MemoryMode, Role
from libs.shared.errors import InvalidRequest, KeyNotFound, LastAdmin, TooManyKeys, UserNotFound
from services.persistence.postgres import Statement
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.tables import ApiKeyRow, TombstoneRow, UserRow

MOST_KEYS = 100
"""API keys of one user."""


def fold(name: str) -> str:
    """How names are compared."""
    return name.casefold()


def as_user(row: UserRow) -> User:
    """The account as others see it."""
    return User(
        user_id=row.user_id,
        name=row.name,
        role=Role(row.role),
        disabled=row.disabled,
        must_change_password=row.must_change_password,
        created_at=row.created_at,
    )


def as_key(row: ApiKeyRow) -> ApiKey:
    """The key as its owner sees it."""
    return ApiKey(
        key_id=row.key_id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        memory=MemoryMode(row.memory),
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


async def user_keys(session: AsyncSession, keys: KeyRing, user_id: str) -> UserKeys:
    """The user's keys. Raises UserNotFound."""
    if (found := keys.cached(user_id)) is not None:
        return found
    slot = await session.scalar(select(UserRow.key_slot).where(UserRow.user_id == user_id))
    if slot is None:
        raise UserNotFound("there is no such account")
    return keys.open_user(user_id, slot)


_KEY_SLOT = Statement("SELECT key_slot FROM users WHERE user_id = :user_id")


async def keys_of(driver: Any, keys: KeyRing, user_id: str) -> UserKeys:
    """The same, by asyncpg."""
    if (found := keys.cached(user_id)) is not None:
        return found
    rows = await _KEY_SLOT.fetch(driver, user_id=user_id)
    if not rows:
        raise UserNotFound("there is no such account")
    return keys.open_user(user_id, rows[0][0])


async def find_user(session: AsyncSession, ref: UserRef, *, locked: bool = False) -> UserRow | None:
    """By id or by name; ``locked`` holds off other changes of it. Raises InvalidRequest when neither is given."""
    if ref.user_id is not None:
        statement = select(UserRow).where(UserRow.user_id == ref.user_id)
    elif ref.name is not None:
        statement = select(UserRow).where(UserRow.folded_name == fold(ref.name))
    else:
        raise InvalidRequest("an account is named by its id or its name", errors=["user_id", "name"])
    return await session.scalar(statement.with_for_update() if locked else statement)


async def read_user(session: AsyncSession, ref: UserRef, *, locked: bool = False) -> UserRow:
    """Raises UserNotFound."""
    if (row := await find_user(session, ref, locked=locked)) is None:
        raise UserNotFound("there is no such account")
    return row


async def list_users(session: AsyncSession, limit: int, after: str | None) -> Sequence[UserRow]:
    """By name, one more than ``limit`` where there are more."""
    statement = select(UserRow).order_by(UserRow.folded_name).limit(limit + 1)
    if after is not None:
        statement = statement.where(UserRow.folded_name > after)
    return (await session.scalars(statement)).all()


async def is_taken(session: AsyncSession, request: CreateUser) -> bool:
    """Whether the name or the id is in use, or the id was that of a forgotten account."""
    taken = select(UserRow.user_id).where(
        (UserRow.folded_name == fold(request.name)) | (UserRow.user_id == request.user_id)
    )
    buried = select(TombstoneRow.id).where(TombstoneRow.kind == "user", TombstoneRow.id == request.user_id)
    return await session.scalar(taken.union_all(buried).limit(1)) is not None


async def add_user(session: AsyncSession, request: CreateUser, key_slot: int, now: datetime) -> UserRow:
    """The new account. Raises sqlalchemy's IntegrityError when it was taken meanwhile."""
    values = request.model_dump() | {
        "role": request.role.value,
        "folded_name": fold(request.name),
        "created_at": now,
        "key_slot": key_slot,
    }
    return (await session.scalars(insert(UserRow).values(**values).returning(UserRow))).one()


async def keep_an_admin(session: AsyncSession, user: UserRow) -> None:
    """Raises LastAdmin unless another admin can still log in; holds off changes of them until the commit."""
    if user.role != Role.ADMIN or user.disabled:
        return
    admins = select(UserRow.user_id).where(UserRow.role == Role.ADMIN.value, UserRow.disabled.is_(False))
    locked = (await session.scalars(admins.order_by(UserRow.user_id).with_for_update())).all()
    if not any(admin != user.user_id for admin in locked):
        raise LastAdmin("the installation would be left without an admin")


async def add_key(session: AsyncSession, request: CreateKey, now: datetime) -> ApiKeyRow:
    """Raises UserNotFound, TooManyKeys, and sqlalchemy's IntegrityError for a hash or id that exists."""
    await read_user(session, UserRef(user_id=request.user_id), locked=True)
    held = select(func.count()).select_from(ApiKeyRow).where(ApiKeyRow.user_id == request.user_id)
    if (await session.scalar(held) or 0) >= MOST_KEYS:
        raise TooManyKeys(f"a user has at most {MOST_KEYS} keys")
    values = request.model_dump() | {"memory": request.memory.value, "scopes": list(request.scopes), "created_at": now}
    return (await session.scalars(insert(ApiKeyRow).values(**values).returning(ApiKeyRow))).one()


async def list_keys(
    session: AsyncSession, user_id: str, limit: int, before: tuple[datetime, str] | None
) -> Sequence[ApiKeyRow]:
    """Newest first, one more than ``limit`` where there are more."""
    statement = select(ApiKeyRow).where(ApiKeyRow.user_id == user_id)
    if before is not None:
        statement = statement.where(tuple_(ApiKeyRow.created_at, ApiKeyRow.key_id) < tuple_(*map(literal, before)))
    statement = statement.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.key_id.desc()).limit(limit + 1)
    return (await session.scalars(statement)).all()


async def remove_key(session: AsyncSession, user_id: str, key_id: str) -> str:
    """The removed key's hash. Raises KeyNotFound, for another user's too."""
    statement = delete(ApiKeyRow).where(ApiKeyRow.key_id == key_id, ApiKeyRow.user_id == user_id)
    removed: str | None = await session.scalar(statement.returning(ApiKeyRow.hash))
    if removed is None:
        raise KeyNotFound("there is no such key")
    return removed


async def key_hashes(session: AsyncSession, user_id: str) -> tuple[str, ...]:
    """Of all the user's keys."""
    return tuple(await session.scalars(select(ApiKeyRow.hash).where(ApiKeyRow.user_id == user_id)))


async def find_key(session: AsyncSession, key_hash: str) -> tuple[ApiKeyRow, UserRow] | None:
    """The key with its user."""
    statement = select(ApiKeyRow, UserRow).join(UserRow, UserRow.user_id == ApiKeyRow.user_id)
    row = (await session.execute(statement.where(ApiKeyRow.hash == key_hash))).one_or_none()
    return None if row is None else (row[0], row[1])
