"""``/api/v1/keys``: one's own API keys, shown once."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field
from starlette.responses import Response

from libs.shared.contracts.accounts import (
    CREATE_KEY,
    LIST_KEYS,
    REVOKE_KEY,
    AccountChanged,
    ApiKey,
    ApiKeys,
    CreateKey,
    KeyRef,
    ListKeys,
)
from libs.shared.contracts.common import Id, MemoryMode
from libs.shared.credentials import new_api_key
from services.api.access import Access
from services.api.bodies import Body
from services.api.errors import BadRequest
from services.api.pages import PageOf
from services.api.routing import CallerOf, Endpoint, PartsOf


def _text_only(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("Input should be a date and time as text, such as 2030-01-31T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text_only)]


class NewKey(Body):
    """A key without scopes serves its owner as a plain user; memory is off unless it is asked for."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
    memory: Literal["off", "read", "read-write"] = "off"
    scopes: list[Literal["user", "operator", "admin", "metrics"]] = Field(default=[], max_length=8)
    expires_at: Moment | None = None


class CreatedKey(BaseModel):
    """``secret`` is shown this once and kept nowhere."""

    key: ApiKey
    secret: str


async def list_keys(parts: PartsOf, caller: CallerOf, page: PageOf) -> ApiKeys:
    """Newest first."""
    return await parts.bus.request(LIST_KEYS, ListKeys(user_id=caller.user_id, limit=page.limit, cursor=page.cursor))


async def create_key(parts: PartsOf, caller: CallerOf, body: NewKey) -> CreatedKey:
    """Makes a key of one's own."""
    if body.expires_at is not None and body.expires_at.timestamp() <= parts.clock():
        raise BadRequest("The key would have expired already.", param="expires_at")
    made = new_api_key()
    key = await parts.bus.request(
        CREATE_KEY,
        CreateKey(
            key_id=secrets.token_hex(16),
            user_id=caller.user_id,
            name=body.name,
            prefix=made.prefix,
            hash=made.hash,
            memory=MemoryMode(body.memory),
            scopes=tuple(sorted(set(body.scopes))),
            expires_at=_utc(body.expires_at),
        ),
    )
    return CreatedKey(key=key, secret=made.secret)


async def revoke_key(parts: PartsOf, caller: CallerOf, key_id: Annotated[Id, Path()]) -> Response:
    """Ends a key of one's own at once."""
    await parts.bus.request(REVOKE_KEY, KeyRef(user_id=caller.user_id, key_id=key_id))
    await parts.accounts.forget(AccountChanged(user_id=caller.user_id))
    return Response(status_code=204)


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment is not None else None
    except OverflowError:
        raise BadRequest("There is no such time in UTC.", param="expires_at") from None


_OPTIONS: dict[str, Any] = {"tags": ["keys"]}
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/keys", handler=list_keys, access=Access.SESSION, options=_OPTIONS),
    Endpoint(
        method="POST", path="/api/v1/keys", handler=create_key, access=Access.SESSION, status=201, options=_OPTIONS
    ),
    Endpoint(
        method="DELETE",
        path="/api/v1/keys/{key_id}",
        handler=revoke_key,
        access=Access.SESSION,
        status=204,
        options=_OPTIONS,
    ),
)
