"""Endpoints as a table: each names its method, its path and what it asks of its caller, or it can't exist."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.api.access import Access, Caller
from services.api.body_limits import OPEN_BODY_BYTES, BoundedBody, Room
from services.api.gate import CALLER, Gate
from services.api.parts import Parts
from services.api.settings import ApiSettings

DEADLINE = "mongars.deadline"
"""Key of the request's ``asyncio.Timeout`` in an ASGI scope."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method on one path. ``plain``: the handler takes the Request and returns a Response; nothing else runs."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    access: Access
    status: int = 200
    plain: bool = False
    body: type[BaseModel] | None = None
    """What a plain handler reads, for the OpenAPI document."""
    room: Callable[[ApiSettings], Room] | None = None
    """What it allows of a body and of time, where that isn't the ordinary."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of APIRoute, for the OpenAPI document."""


class GuardedRoute(APIRoute):
    """Asks the gate before it does anything else."""

    access: Access
    gate: Gate
    room: Room | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admit(scope, receive)
        await super().handle(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> None:
        self._refuse_method(scope)
        if self.access is Access.OPEN and isinstance(receive, BoundedBody):
            receive.narrow(OPEN_BODY_BYTES)
        await self.gate.admit(scope, self.access)
        if self.room is not None and isinstance(receive, BoundedBody):
            receive.widen(self.room)
            scope[DEADLINE].reschedule(asyncio.get_running_loop().time() + self.room.request_s)

    def _refuse_method(self, scope: Scope) -> None:
        if self.methods and scope["method"] not in self.methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(self.methods))})


class PlainRoute(GuardedRoute):
    """Calls its handler with the Request alone: no dependency is solved, so that the busiest paths stay short."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admit(scope, receive)
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def route_for(endpoint: Endpoint, parts: Parts) -> GuardedRoute:
    """The route that serves ``endpoint``."""
    kind = PlainRoute if endpoint.plain else GuardedRoute
    route = kind(
        endpoint.path,
        endpoint.handler,
        methods=[endpoint.method],
        status_code=endpoint.status,
        **({"response_model": None} if endpoint.plain else {}) | endpoint.options,
    )
    route.access, route.gate = endpoint.access, parts.gate
    if endpoint.room is not None:
        route.room = endpoint.room(parts.settings)
    return route


def parts_of(request: Request) -> Parts:
    """What the service is made of."""
    parts: Parts = request.app.state.parts
    return parts


def caller_of(request: Request) -> Caller:
    """Whoever passed the gate."""
    caller: Caller = request.scope[CALLER]
    return caller


async def _parts(request: Request) -> Parts:
    return parts_of(request)


async def _caller(request: Request) -> Caller:
    return caller_of(request)


PartsOf = Annotated[Parts, Depends(_parts)]
CallerOf = Annotated[Caller, Depends(_caller)]
