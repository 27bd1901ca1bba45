"""Accounts and API keys, asked of persistence with the owner's rights."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from cli.errors import CommandError, Exit
from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import (
    ADMIT_AGAIN,
    CHANGE_USER,
    CREATE_KEY,
    CREATE_USER,
    LIST_KEYS,
    LIST_MAPPINGS,
    LIST_USERS,
    MAP_USER,
    READ_USER,
    REVOKE_KEY,
    UNMAP_USER,
    AdmitAgain,
    ApiKey,
    ChangeUser,
    CreateKey,
    CreateUser,
    KeyMapping,
    KeyRef,
    ListKeys,
    ListMappings,
    MapUser,
    UnmapUser,
    User,
    UserRef,
)
from libs.shared.contracts.common import MemoryMode, Page, Role
from libs.shared.credentials import NewApiKey, new_api_key
from libs.shared.errors import (
    InvalidRequest,
    KeyNotFound,
    MappingNotFound,
    ServiceError,
    UserExists,
    UserNotFound,
)
from libs.shared.scopes import METRICS, ON_BEHALF_OF

_ROLE_OF_SCOPE = {**{role.value: role for role in Role}, METRICS: Role.OPERATOR, ON_BEHALF_OF: Role.ADMIN}
"""What the owner of a key has to be; a key without scopes serves its owner as a plain user."""
_RANKED = (Role.USER, Role.OPERATOR, Role.ADMIN)
_LONGEST_NAME = 64
_PAGE = 200
_PERIOD = re.compile(r"^(\d{1,5})([hdw])$")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


async def find_user(bus: Bus, name: str) -> User | None:
    """None when there is no such account."""
    try:
        return await bus.request(READ_USER, UserRef(name=name))
    except UserNotFound:
        return None


async def user_named(bus: Bus, name: str) -> User:
    """Raises CommandError when there is no such account."""
    user = await find_user(bus, name)
    if user is None:
        raise CommandError(f"there is no user {name}", f"make one with: mongars users create {name}", code=Exit.REFUSED)
    return user


async def create_user(bus: Bus, name: str, role: Role, password_hash: str | None) -> User:
    """Raises CommandError when the name is unfit or taken. A password must be changed at the first login."""
    try:
        request = CreateUser(
            user_id=uuid.uuid4().hex,
            name=name,
            role=role,
            password_hash=password_hash,
            must_change_password=password_hash is not None,
        )
        return await bus.request(CREATE_USER, request)
    except ValidationError:
        raise CommandError(
            f"{name!r} can't be a user's name",
            "1 to 64 characters, without spaces, slashes and colons",
            code=Exit.USAGE,
        ) from None
    except UserExists:
        raise CommandError(f"there is a user {name} already", "choose another name", code=Exit.REFUSED) from None


async def reset_password(bus: Bus, user: User, password_hash: str) -> None:
    """Ends the account's sessions and the waits that wrong passwords brought it; its API keys stay.

    Raises CommandError; once the password is changed it says that it is.
    """
    change = ChangeUser(user_id=user.user_id, password_hash=password_hash, must_change_password=True)
    await bus.request(CHANGE_USER, change)
    try:
        await bus.request(ADMIT_AGAIN, AdmitAgain(user_id=user.user_id, name=user.name))
    except ServiceError as error:
        raise CommandError(
            f"the old password of {user.name} is void, and the gateway could not be told: {error.detail}",
            "when mongars status says that it is ready, run this again",
        ) from None


async def ensure_user(bus: Bus, name: str) -> User:
    """The account of that name; made, for keys only, when there is none."""
    return await find_user(bus, name) or await create_user(bus, name, Role.USER, None)


async def all_users(bus: Bus) -> list[User]:
    """By name."""
    users: list[User] = []
    page = Page(limit=_PAGE)
    while True:
        reply = await bus.request(LIST_USERS, page)
        users += reply.users
        if reply.next_cursor is None:
            return users
        page = Page(limit=_PAGE, cursor=reply.next_cursor)


async def all_keys(bus: Bus, user: User) -> list[ApiKey]:
    """Newest first."""
    keys: list[ApiKey] = []
    page = ListKeys(user_id=user.user_id, limit=_PAGE)
    while True:
        reply = await bus.request(LIST_KEYS, page)
        keys += reply.keys
        if reply.next_cursor is None:
            return keys
        page = ListKeys(user_id=user.user_id, limit=_PAGE, cursor=reply.next_cursor)


def require_name(name: str) -> None:
    """Raises CommandError for a text by which nobody would recognise a key."""
    if not 1 <= len(name.strip()) <= _LONGEST_NAME or not name.isprintable():
        raise CommandError(
            f"{name!r} can't be a key's name", f"1 to {_LONGEST_NAME} printable characters", code=Exit.USAGE
        )


async def create_key(
    bus: Bus,
    user: User,
    name: str,
    memory: MemoryMode,
    expires_at: datetime | None,
    scopes: tuple[str, ...] = (),
) -> tuple[NewApiKey, ApiKey]:
    """The secret, which is known here alone, and the key as it is kept. ``name`` is one that ``require_name`` took."""
    made = new_api_key()
    request = CreateKey(
        key_id=uuid.uuid4().hex,
        user_id=user.user_id,
        name=name,
        prefix=made.prefix,
        hash=made.hash,
        memory=memory,
        scopes=scopes,
        expires_at=expires_at,
    )
    return made, await bus.request(CREATE_KEY, request)


async def revoke_key(bus: Bus, user: User, key_id: str) -> None:
    """Raises CommandError when the user has no such key."""
    try:
        await bus.request(REVOKE_KEY, KeyRef(user_id=user.user_id, key_id=key_id))
    except (KeyNotFound, ValidationError):
        raise CommandError(
            f"{user.name} has no key {key_id}", f"see: mongars keys list --user {user.name}", code=Exit.REFUSED
        ) from None


def key_scopes(asked: Sequence[str], user: str, role: Role) -> tuple[str, ...]:
    """``asked`` without repetitions. Raises CommandError for one that is unknown, or more than the owner's ``role``."""
    for scope in asked:
        needed = _ROLE_OF_SCOPE.get(scope)
        if needed is None:
            raise CommandError(f"--scope {scope} is unknown", f"one of: {', '.join(_ROLE_OF_SCOPE)}", code=Exit.USAGE)
        if _RANKED.index(needed) > _RANKED.index(role):
            raise CommandError(
                f"a key of {user} can't have the scope {scope}: that takes the role {needed}, and {user} is {role}",
                f"choose another owner, or make one: mongars users create NAME --role {needed} --no-password",
                code=Exit.REFUSED,
            )
    if ON_BEHALF_OF in asked and len(set(asked)) > 1:
        raise CommandError(f"the scope {ON_BEHALF_OF} stands alone", "make another key for the rest", code=Exit.USAGE)
    return tuple(dict.fromkeys(asked))


async def map_user(bus: Bus, key_id: str, external: str, user: User) -> KeyMapping:
    """At once: whoever owns the machine can read everything. Raises CommandError for a key that isn't there, or can't
    speak for anybody."""
    try:
        return await bus.request(
            MAP_USER, MapUser(key_id=key_id, external=external, user_id=user.user_id, accepted=True)
        )
    except (KeyNotFound, InvalidRequest, ValidationError) as error:
        reason = str(error) if isinstance(error, InvalidRequest) else f"there is no key {key_id}"
        remedy = (
            f"make one with: mongars keys create --user ADMIN --name NAME --scope {ON_BEHALF_OF} --memory read-write"
        )
        raise CommandError(reason, remedy, code=Exit.REFUSED) from None


async def mappings(bus: Bus, key_id: str) -> tuple[KeyMapping, ...]:
    """Newest first; none for a key that isn't there."""
    return (await bus.request(LIST_MAPPINGS, ListMappings(key_id=key_id))).mappings


async def unmap_user(bus: Bus, key_id: str, external: str) -> None:
    """``external`` is what the program calls the user, or the mapping's id. Raises CommandError."""
    known = [one for one in await mappings(bus, key_id) if one.mapping_id == external]
    wanted = UnmapUser(mapping_id=external) if known else UnmapUser(key_id=key_id, external=external)
    try:
        await bus.request(UNMAP_USER, wanted)
    except MappingNotFound:
        raise CommandError(
            f"nobody is mapped as {external}", f"see: mongars keys maps {key_id}", code=Exit.REFUSED
        ) from None


def expiry(text: str, now: datetime) -> datetime:
    """``36h``, ``90d``, ``4w``, or a date such as ``2027-01-31`` (midnight, UTC). Raises CommandError."""
    if matched := _PERIOD.match(text):
        return now + timedelta(**{_UNITS[matched[2]]: int(matched[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{text!r} is neither a period nor a date", "say 36h, 90d, 4w or 2027-01-31", code=Exit.USAGE
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at <= now:
        raise CommandError(f"{text} has passed", "name a date to come", code=Exit.USAGE)
    return at


def only(users: Sequence[User]) -> User:
    """The one account there is. Raises CommandError when somebody has to choose."""
    if len(users) == 1:
        return users[0]
    names = ", ".join(user.name for user in users)
    raise CommandError("there are several accounts", f"choose one with --user: {names}", code=Exit.USAGE)
