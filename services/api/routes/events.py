"""``GET /api/v1/events``: what happens, as server-sent events, to those who may see it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.shared.contracts.events import DATA, Ended, EventType
from libs.shared.errors import InvalidRequest, ServiceError, Unavailable
from services.api.access import Access
from services.api.clients import WhileConnected
from services.api.live.events import Happened, may_see, written
from services.api.live.mailbox import Mailbox
from services.api.parts import Parts
from services.api.routing import DEADLINE, Endpoint, caller_of, parts_of

HEARTBEAT_S = 15.0
SEND_S = 30.0
"""A client that takes nothing for so long is gone."""
_COME_AGAIN = b"retry: 2000\n\n"
_STILL_HERE = b": still here\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def events(request: Request) -> Response:
    """What changes from now on. Each event has an id, a type and JSON; between them a comment every 15 seconds.

    With `Last-Event-ID` what came since is told first, as far as it is still known (training progress never is);
    otherwise, and where a client reads too slowly, an event `lost` says that the lists are to be read again. A stream
    ends, with an event `ended`, when its credential does or the gateway stops; at most eight of one caller may be open.
    """
    parts = parts_of(request)
    mailbox = parts.live.join(caller_of(request), _types(request), request.headers.get("last-event-id"))
    return _Stream(parts, mailbox)


def _types(request: Request) -> frozenset[EventType]:
    """Raises InvalidRequest."""
    try:
        wanted = {EventType(value) for value in request.query_params.getlist("type")}
    except ValueError:
        raise InvalidRequest("There is no such type of event.", errors=["type"]) from None
    return frozenset(wanted | {EventType.LOST, EventType.ENDED}) if wanted else frozenset()


class _Stream(Response):
    """Ends when its client leaves or takes nothing, its credential ends, or the gateway stops."""

    def __init__(self, parts: Parts, mailbox: Mailbox) -> None:
        super().__init__()
        self._parts = parts
        self._mailbox = mailbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[DEADLINE].reschedule(None)
        try:
            async with WhileConnected(receive):
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await _sent(send, _COME_AGAIN)
                ended = await self._tell_all(scope, send)
                await _sent(send, written(Happened(EventType.ENDED, ended, users=None)), more=False)
        finally:
            self._parts.live.leave(self._mailbox)

    async def _tell_all(self, scope: Scope, send: Send) -> Ended:
        while True:
            waiting = await self._mailbox.wait(self._patience_s())
            try:
                caller = await self._parts.gate.again(scope, Access.USER)
            except Unavailable:
                caller = self._mailbox.caller  # nobody can say now whether it still holds
            except ServiceError:
                return Ended(reason="credential")
            seen = [told for told in waiting if may_see(caller, told.event)]
            if seen or self._mailbox.ended is None:
                await _sent(send, b"".join(written(told.event, told.event_id) for told in seen) or _STILL_HERE)
            if self._mailbox.ended is not None:
                return self._mailbox.ended

    def _patience_s(self) -> float:
        """Until the next sign of life, or until the access token expires."""
        token = self._mailbox.caller.token
        left_s = token.expires_at - self._parts.clock() if token is not None else HEARTBEAT_S
        return max(0.0, min(HEARTBEAT_S, left_s))


async def _sent(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SEND_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


_DOCUMENTED: dict[str, Any] = {
    "tags": ["events"],
    "responses": {
        200: {
            "description": "Server-sent events. "
            + " ".join(f"`{kind.value}`: {data.__name__}." for kind, data in DATA.items()),
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "type",
                "in": "query",
                "description": "Only events of these types; without it all.",
                "schema": {"type": "array", "items": {"type": "string", "enum": [kind.value for kind in EventType]}},
            },
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Of the last event that was read.",
                "schema": {"type": "string"},
            },
        ]
    },
}
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/events", handler=events, access=Access.USER, plain=True, options=_DOCUMENTED),
)
