"""Refresh tokens: families of them, each token used once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.accounts import EndSession, RotateRefresh, SaveRefresh
from services.persistence.tables import RefreshFamilyRow, RefreshTokenRow, UserRow


class Use(StrEnum):
    """How the use of a refresh token is judged."""

    VALID = "valid"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    ENDED = "ended"
    REUSED = "reused"
    DISABLED = "disabled"


def judge_use(token: RefreshTokenRow, family: RefreshFamilyRow, user: UserRow, now: datetime) -> Use:
    """A token that was used before tells of theft, whatever else is true of it."""
    if token.used_at is not None:
        return Use.REUSED
    if family.ended_at is not None:
        return Use.ENDED
    if user.disabled:
        return Use.DISABLED
    return Use.EXPIRED if token.expires_at <= now else Use.VALID


async def start(session: AsyncSession, request: SaveRefresh) -> None:
    """A new family with its first token; a repeated request changes nothing."""
    family = request.model_dump(include={"family_id", "user_id", "expires_at"})
    token = request.model_dump(include={"family_id", "hash", "expires_at"})
    await session.execute(upsert(RefreshFamilyRow).values(**family).on_conflict_do_nothing())
    await session.execute(upsert(RefreshTokenRow).values(**token).on_conflict_do_nothing())


async def find(session: AsyncSession, token_hash: str) -> tuple[RefreshTokenRow, RefreshFamilyRow, UserRow] | None:
    """The token with its family and user; the family is locked, so that two uses come one after the other."""
    statement = (
        select(RefreshTokenRow, RefreshFamilyRow, UserRow)
        .join(RefreshFamilyRow, RefreshFamilyRow.family_id == RefreshTokenRow.family_id)
        .join(UserRow, UserRow.user_id == RefreshFamilyRow.user_id)
        .where(RefreshTokenRow.hash == token_hash)
        .with_for_update(of=(RefreshFamilyRow, RefreshTokenRow))
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def replace(session: AsyncSession, request: RotateRefresh, family_id: str, now: datetime) -> None:
    """Marks the token as used and stores the next."""
    used = update(RefreshTokenRow).where(RefreshTokenRow.hash == request.hash).values(used_at=now)
    await session.execute(used)
    await session.execute(
        insert(RefreshTokenRow).values(hash=request.next_hash, family_id=family_id, expires_at=request.next_expires_at)
    )
    alive = update(RefreshFamilyRow).where(RefreshFamilyRow.family_id == family_id)
    await session.execute(alive.values(expires_at=request.next_expires_at))


async def end(session: AsyncSession, request: EndSession, now: datetime) -> None:
    """Ends one family of the user, or all."""
    statement = update(RefreshFamilyRow).where(
        RefreshFamilyRow.user_id == request.user_id, RefreshFamilyRow.ended_at.is_(None)
    )
    if request.family_id is not None:
        statement = statement.where(RefreshFamilyRow.family_id == request.family_id)
    await session.execute(statement.values(ended_at=now).execution_options(synchronize_session=False))


async def remove_expired(session: AsyncSession, now: datetime, most: int) -> int:
    """Removes expired tokens, and families whose newest token has expired; how many of these."""
    stale = select(RefreshTokenRow.hash).where(RefreshTokenRow.expires_at < now).limit(most)
    gone = delete(RefreshTokenRow).where(RefreshTokenRow.hash.in_(stale))
    await session.execute(gone.execution_options(synchronize_session=False))
    old = select(RefreshFamilyRow.family_id).where(RefreshFamilyRow.expires_at < now).limit(most)
    removed = delete(RefreshFamilyRow).where(RefreshFamilyRow.family_id.in_(old)).returning(RefreshFamilyRow.family_id)
    return len((await session.scalars(removed.execution_options(synchronize_session=False))).all())
