"""Accounts, API keys and sessions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.exc import IntegrityError

from libs.shared.contracts.accounts import (
    ACCOUNT_CHANGED,
    AccountChanged,
    ApiKey,
    ApiKeys,
    ChangeUser,
    CreateKey,
    CreateUser,
    EndSession,
    FindKey,
    FoundKey,
    KeyRef,
    ListKeys,
    Login,
    Rotated,
    RotateRefresh,
    SaveRefresh,
    User,
    UserRef,
    Users,
)
from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import Page, Role
from libs.shared.contracts.forgetting import Receipt
from libs.shared.contracts.sessions import CREDENTIALS, credential_entry
from libs.shared.errors import InvalidRequest, RefreshInvalid, ServiceError, TimedOut, Unavailable, UserExists
from libs.shared.telemetry import get_logger
from services.persistence import forgetting
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, sessions
from services.persistence.repositories.sessions import Use, judge_use

log = get_logger(__name__)


async def _drop_shared(parts: Parts, key_hashes: tuple[str, ...]) -> None:
    """After the commit and before the acknowledgement: nobody believes these keys from here on. Raises Unavailable."""
    bucket = parts.bus.bucket(CREDENTIALS)
    for key_hash in key_hashes:
        try:
            await bucket.delete(credential_entry(key_hash))
        except (Unavailable, TimedOut):
            await bucket.delete(credential_entry(key_hash))


async def _tell(parts: Parts, user_id: str, key_hashes: tuple[str, ...]) -> None:
    """Ends what is believed of the user's keys everywhere."""
    try:
        await _drop_shared(parts, key_hashes)
    finally:
        await _announce(parts, user_id, key_hashes[0] if len(key_hashes) == 1 else None)


async def _announce(parts: Parts, user_id: str, key_hash: str | None = None) -> None:
    """Lossy by nature: what listeners cache also expires."""
    try:
        await parts.bus.broadcast(ACCOUNT_CHANGED, AccountChanged(user_id=user_id, key_hash=key_hash))
    except ServiceError as error:
        log.warning("account_change_not_announced", reason=error.code)


async def create_user(request: CreateUser, parts: Parts) -> User:
    """A new account with a key of its own."""
    async with parts.database.transaction() as session:
        if await accounts.is_taken(session, request):
            raise UserExists("there is an account of this name")
    slot = await parts.keys.new_user_key()
    try:
        async with parts.database.transaction() as session:
            row = await accounts.add_user(session, request, slot, parts.clock())
    except IntegrityError:
        await parts.keys.slots.destroy((slot,))
        parts.keys.slots.release((slot,))
        raise UserExists("there is an account of this name") from None
    return accounts.as_user(row)


async def read_user(request: UserRef, parts: Parts) -> User:
    """By id or name."""
    async with parts.database.transaction() as session:
        return accounts.as_user(await accounts.read_user(session, request))


async def list_users(request: Page, parts: Parts) -> Users:
    """A page of accounts by name."""
    after = decode_cursor(request.cursor, str)[0] if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await accounts.list_users(session, request.limit, after)
    shown = rows[: request.limit]
    return Users(
        users=tuple(map(accounts.as_user, shown)),
        next_cursor=encode_cursor(shown[-1].folded_name) if len(rows) > len(shown) else None,
    )


async def change_user(request: ChangeUser, parts: Parts) -> User:
    """Changes what is given; every session of the user ends."""
    async with parts.database.transaction() as session:
        row = await accounts.read_user(session, UserRef(user_id=request.user_id), locked=True)
        if request.disabled or request.role not in (None, Role.ADMIN):
            await accounts.keep_an_admin(session, row)
        for name, value in request.model_dump(exclude={"user_id"}, exclude_none=True).items():
            setattr(row, name, value.value if isinstance(value, Role) else value)
        await sessions.end(session, EndSession(user_id=request.user_id), parts.clock())
        changed, key_hashes = accounts.as_user(row), await accounts.key_hashes(session, row.user_id)
    await _tell(parts, request.user_id, key_hashes)
    return changed


async def delete_user(request: UserRef, parts: Parts) -> Receipt:
    """Forgets the account and everything it said."""
    async with parts.database.transaction() as session:
        user = await accounts.read_user(session, request)
        key_hashes = await accounts.key_hashes(session, user.user_id)
    receipt = await forgetting.forget_user(request, parts)
    await _tell(parts, receipt.subject_id, key_hashes)
    return receipt


async def find_login(request: UserRef, parts: Parts) -> Login:
    """What the password is checked against."""
    async with parts.database.transaction() as session:
        row = await accounts.find_user(session, request)
    if row is None:
        return Login(user=None, password_hash=None)
    return Login(user=accounts.as_user(row), password_hash=row.password_hash)


async def create_key(request: CreateKey, parts: Parts) -> ApiKey:
    """Keeps a key's hash."""
    try:
        async with parts.database.transaction() as session:
            return accounts.as_key(await accounts.add_key(session, request, parts.clock()))
    except IntegrityError:
        raise InvalidRequest("this key exists already", errors=["hash"]) from None


async def list_keys(request: ListKeys, parts: Parts) -> ApiKeys:
    """A page of a user's keys."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await accounts.list_keys(session, request.user_id, request.limit, before)
    shown = rows[: request.limit]
    cursor = encode_cursor(shown[-1].created_at, shown[-1].key_id) if len(rows) > len(shown) else None
    return ApiKeys(keys=tuple(map(accounts.as_key, shown)), next_cursor=cursor)


async def revoke_key(request: KeyRef, parts: Parts) -> Empty:
    """Removes a key at once."""
    async with parts.database.transaction() as session:
        key_hash = await accounts.remove_key(session, request.user_id, request.key_id)
    await _tell(parts, request.user_id, (key_hash,))
    return Empty()


async def find_key(request: FindKey, parts: Parts) -> FoundKey:
    """The key of a hash, with its user."""
    async with parts.database.transaction() as session:
        found = await accounts.find_key(session, request.hash)
    if found is None:
        return FoundKey(key=None, user=None)
    return FoundKey(key=accounts.as_key(found[0]), user=accounts.as_user(found[1]))


async def save_refresh(request: SaveRefresh, parts: Parts) -> Empty:
    """Starts a session."""
    async with parts.database.transaction() as session:
        await accounts.read_user(session, UserRef(user_id=request.user_id))
        await sessions.start(session, request)
    return Empty()


async def rotate_refresh(request: RotateRefresh, parts: Parts) -> Rotated:
    """Uses a token once. The end of a family whose token came twice is committed before the refusal is told."""
    now = parts.clock()
    async with parts.database.transaction() as session:
        found = await sessions.find(session, request.hash)
        if found is None:
            raise RefreshInvalid("the session has ended: log in again")
        token, family, user = found
        use = judge_use(token, family, user, now)
        if use is Use.VALID:
            await sessions.replace(session, request, family.family_id, now)
            return Rotated(family_id=family.family_id, user=accounts.as_user(user))
        if use is Use.REUSED:
            await sessions.end(session, EndSession(user_id=user.user_id, family_id=family.family_id), now)
    if use is Use.REUSED:
        log.warning("refresh_token_reused")
    raise RefreshInvalid("the session has ended: log in again")


async def end_session(request: EndSession, parts: Parts) -> Empty:
    """Ends one session, or all of a user's."""
    async with parts.database.transaction() as session:
        await sessions.end(session, request, parts.clock())
    return Empty()
