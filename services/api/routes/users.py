"""``/api/v1/users``: accounts, for administrators; and one's own."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from libs.shared.contracts.accounts import (
    CHANGE_USER,
    CREATE_USER,
    DELETE_USER,
    LIST_USERS,
    READ_USER,
    ChangeUser,
    CreateUser,
    User,
    UserRef,
    Users,
)
from libs.shared.contracts.common import Id, Role
from libs.shared.contracts.forgetting import Receipt
from libs.shared.credentials import new_password
from services.api.access import Access
from services.api.bodies import Body
from services.api.pages import PageOf
from services.api.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD
from services.api.routing import CallerOf, Endpoint, PartsOf

RoleName = Literal["user", "operator", "admin"]
Password = Annotated[str, Field(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]


class NewUser(Body):
    """Without a password the account gets a one-time password, told once."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\s/:\x00-\x1f]+$")
    role: RoleName = "user"
    password: Password | None = None


class CreatedUser(BaseModel):
    """The account, with its one-time password when one was made."""

    user: User
    one_time_password: str | None


class UserPatch(Body):
    """What is absent stays. ``reset_password`` makes a one-time password."""

    role: RoleName | None = None
    disabled: bool | None = None
    reset_password: bool = False


async def list_users(parts: PartsOf, page: PageOf) -> Users:
    """By name."""
    return await parts.bus.request(LIST_USERS, page)


async def read_me(parts: PartsOf, caller: CallerOf) -> User:
    """One's own account."""
    return await parts.bus.request(READ_USER, UserRef(user_id=caller.user_id))


async def create_user(parts: PartsOf, body: NewUser) -> CreatedUser:
    """Makes an account. Whoever gets a one-time password has to choose another at the first login."""
    one_time = new_password() if body.password is None else None
    user = await parts.bus.request(
        CREATE_USER,
        CreateUser(
            user_id=secrets.token_hex(16),
            name=body.name,
            role=Role(body.role),
            password_hash=await parts.passwords.hash(body.password or one_time or ""),
            must_change_password=one_time is not None,
        ),
    )
    return CreatedUser(user=user, one_time_password=one_time)


async def read_user(parts: PartsOf, user_id: Annotated[Id, Path()]) -> User:
    """One account."""
    return await parts.bus.request(READ_USER, UserRef(user_id=user_id))


async def change_user(parts: PartsOf, user_id: Annotated[Id, Path()], body: UserPatch) -> CreatedUser:
    """Changes an account and ends its sessions."""
    one_time = new_password() if body.reset_password else None
    user = await parts.bus.request(
        CHANGE_USER,
        ChangeUser(
            user_id=user_id,
            role=Role(body.role) if body.role is not None else None,
            disabled=body.disabled,
            password_hash=await parts.passwords.hash(one_time) if one_time is not None else None,
            must_change_password=True if one_time is not None else None,
        ),
    )
    await parts.logins.end_sessions(user_id)
    return CreatedUser(user=user, one_time_password=one_time)


async def delete_user(parts: PartsOf, user_id: Annotated[Id, Path()]) -> Receipt:
    """Forgets the account and everything it said; the receipt says what went."""
    receipt = await parts.bus.request(DELETE_USER, UserRef(user_id=user_id))
    await parts.logins.end_sessions(user_id)
    return receipt


_OPTIONS: dict[str, Any] = {"tags": ["users"]}
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/users", handler=list_users, access=Access.ADMIN, options=_OPTIONS),
    Endpoint(
        method="POST", path="/api/v1/users", handler=create_user, access=Access.ADMIN, status=201, options=_OPTIONS
    ),
    Endpoint(method="GET", path="/api/v1/users/me", handler=read_me, access=Access.USER, options=_OPTIONS),
    Endpoint(method="GET", path="/api/v1/users/{user_id}", handler=read_user, access=Access.ADMIN, options=_OPTIONS),
    Endpoint(
        method="PATCH", path="/api/v1/users/{user_id}", handler=change_user, access=Access.ADMIN, options=_OPTIONS
    ),
    Endpoint(
        method="DELETE",
        path="/api/v1/users/{user_id}",
        handler=delete_user,
        access=Access.ADMIN,
        options=_OPTIONS,
    ),
)
