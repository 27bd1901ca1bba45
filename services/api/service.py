"""Wires the api: the bus to its parts, and uvicorn into the service's life."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.api.app import create_app
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


def http_server(parts: Parts, version: str) -> HttpServer:
    settings = parts.settings
    return HttpServer(
        uvicorn.Config(
            create_app(parts, version=version),
            host=settings.http_host,
            port=settings.http_port,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
        )
    )


async def serve_until_cancelled(server: HttpServer) -> None:
    """Serves; when it is cancelled, stops listening and finishes what is in flight."""
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


async def wire(context: ServiceContext) -> None:
    """Serves HTTP; of the bus, the api serves nothing but its own health and metrics."""
    settings = context.settings
    assert isinstance(settings, ApiSettings)
    parts = Parts.build(settings, context.bus, read_signing_key(settings.folder.token_key))
    await parts.start()
    server = http_server(parts, context.version)
    context.tasks.create_task(parts.save_limits())
    context.tasks.create_task(serve_until_cancelled(server))
