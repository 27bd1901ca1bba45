"""``/api/v1/keys``: one's own API keys, shown once."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field
from starlette.responses import Response

from libs.shared.contracts.accounts import (
    ACCEPT_MAPPING,
    CREATE_KEY,
    LIST_KEYS,
    LIST_MAPPINGS,
    MAP_USER,
    REVOKE_KEY,
    UNMAP_USER,
    AccountChanged,
    ApiKey,
    ApiKeys,
    CreateKey,
    KeyMapping,
    KeyMappings,
    KeyRef,
    ListKeys,
    ListMappings,
    MappingRef,
    MapUser,
    UnmapUser,
)
from libs.shared.contracts.common import Id, MemoryMode, Role
from libs.shared.credentials import new_api_key
from libs.shared.errors import MappingNotFound
from libs.shared.scopes import ON_BEHALF_OF
from services.api.access import Access
from services.api.bodies import Body
from services.api.errors import BadRequest, NotAllowed
from services.api.pages import PageOf
from services.api.routing import CallerOf, Endpoint, PartsOf


def _text_only(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("Input should be a date and time as text, such as 2030-01-31T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text_only)]


class NewKey(Body):
    """A key without scopes serves its owner as a plain user; memory is off unless it is asked for. The scope
    ``on-behalf-of`` is an admin's to give, and stands alone."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
    memory: Literal["off", "read", "read-write"] = "off"
    scopes: list[Literal["user", "operator", "admin", "metrics", "on-behalf-of"]] = Field(default=[], max_length=8)
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
    if ON_BEHALF_OF in body.scopes:
        if caller.role is not Role.ADMIN:
            raise NotAllowed(f"The scope {ON_BEHALF_OF} needs the role admin.")
        if len(set(body.scopes)) > 1:
            raise BadRequest(f"The scope {ON_BEHALF_OF} stands alone.", param="scopes")
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


class NewMapping(Body):
    """``external`` is what the key's program calls its user: an id that they can't change, or an e-mail address."""

    external: str = Field(min_length=1, max_length=256)
    user_id: Id


async def list_key_mappings(parts: PartsOf, key_id: Annotated[Id, Path()]) -> KeyMappings:
    """For whom the key may speak; what its program calls them isn't kept, and can't be shown."""
    return await parts.bus.request(LIST_MAPPINGS, ListMappings(key_id=key_id))


async def create_mapping(
    parts: PartsOf, caller: CallerOf, key_id: Annotated[Id, Path()], body: NewMapping
) -> KeyMapping:
    """Lets the key speak for an account once that accepts it (``POST /api/v1/mappings/{mapping_id}/accept``): who has
    the key is told what the account remembers. One's own account needs no further word."""
    wanted = MapUser(
        key_id=key_id, external=body.external, user_id=body.user_id, accepted=body.user_id == caller.user_id
    )
    return await parts.bus.request(MAP_USER, wanted)


async def delete_mapping(parts: PartsOf, key_id: Annotated[Id, Path()], mapping_id: Annotated[Id, Path()]) -> Response:
    """Ends it at once."""
    found = await parts.bus.request(LIST_MAPPINGS, ListMappings(key_id=key_id))
    if not any(mapping.mapping_id == mapping_id for mapping in found.mappings):
        raise MappingNotFound("there is no such mapping of this key")
    await parts.bus.request(UNMAP_USER, UnmapUser(mapping_id=mapping_id))
    return Response(status_code=204)


async def list_own_mappings(parts: PartsOf, caller: CallerOf) -> KeyMappings:
    """The keys that may speak for oneself, or ask whether they may."""
    return await parts.bus.request(LIST_MAPPINGS, ListMappings(user_id=caller.user_id))


async def accept_own_mapping(parts: PartsOf, caller: CallerOf, mapping_id: Annotated[Id, Path()]) -> Response:
    """Lets a key speak for oneself, as an admin asked."""
    await parts.bus.request(ACCEPT_MAPPING, MappingRef(mapping_id=mapping_id, user_id=caller.user_id))
    return Response(status_code=204)


async def delete_own_mapping(parts: PartsOf, caller: CallerOf, mapping_id: Annotated[Id, Path()]) -> Response:
    """Ends one of them at once."""
    await parts.bus.request(UNMAP_USER, UnmapUser(mapping_id=mapping_id, user_id=caller.user_id))
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
    Endpoint(
        method="GET",
        path="/api/v1/keys/{key_id}/mappings",
        handler=list_key_mappings,
        access=Access.ADMIN_SESSION,
        options=_OPTIONS,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/keys/{key_id}/mappings",
        handler=create_mapping,
        access=Access.ADMIN_SESSION,
        status=201,
        options=_OPTIONS,
    ),
    Endpoint(
        method="DELETE",
        path="/api/v1/keys/{key_id}/mappings/{mapping_id}",
        handler=delete_mapping,
        access=Access.ADMIN_SESSION,
        status=204,
        options=_OPTIONS,
    ),
    Endpoint(method="GET", path="/api/v1/mappings", handler=list_own_mappings, access=Access.SESSION, options=_OPTIONS),
    Endpoint(
        method="POST",
        path="/api/v1/mappings/{mapping_id}/accept",
        handler=accept_own_mapping,
        access=Access.SESSION,
        status=204,
        options=_OPTIONS,
    ),
    Endpoint(
        method="DELETE",
        path="/api/v1/mappings/{mapping_id}",
        handler=delete_own_mapping,
        access=Access.SESSION,
        status=204,
        options=_OPTIONS,
    ),
)
