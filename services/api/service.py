"""Wires the api: the bus to its parts, and uvicorn into the service's life."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI

from libs.shared.contracts.accounts import ADMIT_AGAIN
from libs.shared.errors import Unavailable
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.api.app import create_app
from services.api.http_limits import BoundedHttp
from services.api.parts import Parts
from services.api.settings import ApiSettings
from services.api.tokens import read_signing_key

log = get_logger(__name__)
_KEEP_ALIVE_S = 75
_BACKLOG = 512


class HttpServer(uvicorn.Server):
    """uvicorn inside a service that has its own signals and its own end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(parts: Parts, app: FastAPI, *, tls: bool = False) -> HttpServer:
    """A server of the parts' application; it is given its socket when it serves. Raises Unavailable."""
    settings = parts.settings
    folder = settings.folder
    return HttpServer(
        uvicorn.Config(
            app,
            loop="none",
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            limit_concurrency=settings.http_connections,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=folder.tls_certificate if tls else None,
            ssl_keyfile=folder.tls_key if tls else None,
        )
    )


def listen(host: str, port: int, setting: str = "MONGARS_HTTP_PORT") -> socket.socket:
    """A listening socket, so that a port that is taken ends the start with a plain word. Raises Unavailable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unavailable(f"{host} is no address to listen on: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable(f"port {port} can't be listened on: {error.strerror}; set {setting}") from None
    listener.setblocking(False)
    return listener


async def serve_until_cancelled(server: HttpServer, listener: socket.socket) -> None:
    """Serves; when it is cancelled, stops listening and finishes what is in flight within the drain's time."""
    serving = asyncio.ensure_future(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


async def wire(context: ServiceContext) -> None:
    """Serves HTTP; of the bus, the api serves its own health and metrics, and what the machine's owner asks of it."""
    settings = context.settings
    assert isinstance(settings, ApiSettings)
    parts = Parts.build(settings, context.bus, read_signing_key(settings.folder.token_key))
    await parts.start()
    await context.bus.serve(ADMIT_AGAIN, parts.logins.admit_again)
    context.stack.push_async_callback(parts.stop)
    listener = listen(settings.http_host, settings.http_port)
    log.info("http_listening", port=listener.getsockname()[1])
    context.tasks.create_task(parts.save_limits())
    context.tasks.create_task(parts.live.run())
    app = create_app(parts, version=version("mongars"))
    context.tasks.create_task(serve_until_cancelled(http_server(parts, app), listener))
    if settings.lan_host is not None:
        outside = listen(settings.lan_host, settings.lan_port, "MONGARS_LAN_PORT")
        log.info("https_listening", port=outside.getsockname()[1])
        context.tasks.create_task(serve_until_cancelled(http_server(parts, app, tls=True), outside))
