"""What every request meets first: limits on its body and time, headers on its response, its span and its metrics."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.shared.errors import Internal, ServiceError, TimedOut
from libs.shared.telemetry import get_logger, metrics, tracer
from services.api import problems
from services.api.body_limits import BoundedBody
from services.api.clients import ClientGone
from services.api.gate import ALLOWANCE
from services.api.routing import DEADLINE
from services.api.settings import ApiSettings
from services.api.tracing import context_from

log = get_logger(__name__)

_CLIENT_GONE = 499
_TOO_LARGE = 413
_CONTENT_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-security-policy", _CONTENT_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_NO_STORE = (b"cache-control", b"no-store")


class Edge:
    """Pure ASGI, so that a request costs no task and no queue of its own here."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = {"http.request.method": scope["method"]}
        exchange = _Exchange(scope, send)
        metrics.HTTP_ACTIVE.add(1, method)
        started = perf_counter()
        try:
            with tracer.start_as_current_span(scope["method"], context_from(scope), SpanKind.SERVER) as span:
                await self._answer(scope, receive, exchange)
                if span.is_recording():
                    span.set_attribute("http.response.status_code", exchange.status)
                    span.set_attribute("http.route", _route(scope))
                    span.update_name(f"{scope['method']} {_route(scope)}")
        finally:
            metrics.HTTP_ACTIVE.add(-1, method)
            metrics.HTTP_DURATION.record(
                perf_counter() - started,
                {**method, "http.route": _route(scope), "http.response.status_code": exchange.status},
            )

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        """Runs the application; what nobody below has answered is answered here."""
        limit_bytes, timeout_s = self._settings.body_limit_bytes, self._settings.body_timeout_s
        body = BoundedBody(scope, receive, limit_bytes=limit_bytes, timeout_s=timeout_s)
        exchange.body = body
        try:
            async with asyncio.timeout(self._settings.request_timeout_s) as scope[DEADLINE]:
                await self._app(scope, body, exchange.send)
        except ClientGone:
            exchange.status = _CLIENT_GONE
        except TimeoutError:
            await self._refuse(scope, receive, exchange, TimedOut("The request took too long."))
        except ServiceError as error:
            await self._refuse(scope, receive, exchange, error)
        except Exception:
            log.exception("request_failed", route=_route(scope))
            await self._refuse(scope, receive, exchange, Internal("A fault of ours: it has been logged."))
        finally:
            body.close()

    async def _refuse(self, scope: Scope, receive: Receive, exchange: _Exchange, error: ServiceError) -> None:
        """Answers, unless an answer has begun: then leaving it unfinished closes the connection."""
        if not exchange.started:
            await problems.response_to(error, scope["path"])(scope, receive, exchange.send)


class _Exchange:
    """One response on its way out, and its status."""

    __slots__ = ("_scope", "_send", "body", "started", "status")

    body: BoundedBody

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.started = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            if self.status == _TOO_LARGE:
                await self.body.discard()
            message["headers"] = self._with_ours(message.get("headers", []))
        await self._send(message)

    def _with_ours(self, headers: Any) -> list[tuple[bytes, bytes]]:
        found = [*headers, *SECURITY_HEADERS]
        if not any(name == b"cache-control" for name, _ in headers):
            found.append(_NO_STORE)
        allowance = self._scope.get(ALLOWANCE)
        if allowance is not None:
            found += allowance.headers()
        return found


def _route(scope: Scope) -> str | None:
    """The route's pattern: never the path itself, which may hold ids."""
    route = scope.get("route")
    return getattr(route, "path", None)
