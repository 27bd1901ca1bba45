"""``/api/v1/auth``: a password for tokens, the next tokens, another password, and the end of a session."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.api.access import Access
from services.api.bodies import Body
from services.api.logins import Tokens
from services.api.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD
from services.api.routing import CallerOf, Endpoint, PartsOf


class TokenPair(BaseModel):
    """OAuth2's token answer. The refresh token serves once, and gives the next pair."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind, not a secret
    expires_in: int
    refresh_token: str
    must_change_password: bool


class Refresh(Body):
    """The refresh token of the last pair."""

    refresh_token: str = Field(min_length=1, max_length=512)


class Logout(Body):
    """``everywhere`` ends all of the user's sessions."""

    everywhere: bool = False


class PasswordChange(Body):
    """The new password is kept as its argon2id hash alone."""

    current_password: str = Field(max_length=LONGEST_PASSWORD)
    new_password: str = Field(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)


async def create_token(
    request: Request,
    parts: PartsOf,
    username: Annotated[str, Form(max_length=256)],
    password: Annotated[str, Form(max_length=4096)],
    grant_type: Annotated[Literal["password"], Form()] = "password",
) -> TokenPair:
    """Logs in by OAuth2's password form."""
    return _told(await parts.logins.log_in(username, password, _address(request)))


async def refresh_token(parts: PartsOf, body: Refresh) -> TokenPair:
    """The next pair; a refresh token that comes twice ends its session."""
    return _told(await parts.logins.refresh(body.refresh_token))


async def log_out(parts: PartsOf, caller: CallerOf, body: Logout | None = None) -> Response:
    """Ends this session at once, its access token included."""
    assert caller.token is not None  # the endpoint's access asks for a session
    await parts.logins.log_out(caller.token, everywhere=body is not None and body.everywhere)
    return Response(status_code=204)


async def change_password(request: Request, parts: PartsOf, caller: CallerOf, body: PasswordChange) -> TokenPair:
    """Sets one's own password, ends all sessions, and begins a new one."""
    return _told(
        await parts.logins.change_password(caller.name, body.current_password, body.new_password, _address(request))
    )


def _told(tokens: Tokens) -> TokenPair:
    return TokenPair(
        access_token=tokens.access,
        expires_in=int(tokens.expires_in_s),
        refresh_token=tokens.refresh,
        must_change_password=tokens.must_change_password,
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


_OPTIONS: dict[str, Any] = {"tags": ["auth"]}
ENDPOINTS = (
    Endpoint(method="POST", path="/api/v1/auth/token", handler=create_token, access=Access.OPEN, options=_OPTIONS),
    Endpoint(method="POST", path="/api/v1/auth/refresh", handler=refresh_token, access=Access.OPEN, options=_OPTIONS),
    Endpoint(
        method="POST",
        path="/api/v1/auth/logout",
        handler=log_out,
        access=Access.PASSWORD,
        status=204,
        options=_OPTIONS,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/auth/password",
        handler=change_password,
        access=Access.PASSWORD,
        options=_OPTIONS,
    ),
)
