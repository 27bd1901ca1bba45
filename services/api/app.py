"""The ASGI application: the table of endpoints, and what surrounds them."""

from __future__ import annotations

from itertools import chain
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.shared.errors import ServiceError
from services.api import openapi, problems
from services.api.access import Access
from services.api.edge import Edge
from services.api.parts import Parts
from services.api.routes import (
    adapters,
    archives,
    auth,
    changes,
    chat,
    consents,
    console,
    conversations,
    documents,
    embeddings,
    events,
    health,
    jobs,
    keys,
    memories,
    models,
    nodes,
    placement,
    ratings,
    receipts,
    sleep,
    training,
    users,
)
from services.api.routing import Endpoint, route_for

_MODULES = (
    chat,  # first, since it is asked most: routes are tried in this order
    models,
    embeddings,
    auth,
    users,
    keys,
    conversations,
    memories,
    archives,
    documents,
    receipts,
    ratings,
    consents,
    nodes,
    placement,
    jobs,
    training,
    changes,
    sleep,
    adapters,
    events,
    health,
    console,
)


async def _openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


ENDPOINTS: tuple[Endpoint, ...] = (
    *chain.from_iterable(module.ENDPOINTS for module in _MODULES),
    *memories.ONE_ENDPOINTS,
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler=_openapi,
        access=Access.OPEN,
        plain=True,
        options={"include_in_schema": False},
    ),
)
"""Every way into the installation over HTTP, with what it asks of its caller."""


class Api(FastAPI):
    """FastAPI with the document completed."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            documented = [e for e in ENDPOINTS if e.options.get("include_in_schema", True)]
            self.openapi_schema = openapi.complete(super().openapi(), documented)
        return self.openapi_schema


def create_app(parts: Parts, *, version: str) -> FastAPI:
    """The application over ``parts``; nothing is global, so that several can live in one process."""
    app = Api(
        title="monGARS",
        version=version,
        description="A private assistant that runs on your own machines.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
    )
    app.state.parts = parts
    app.router.routes.extend(route_for(endpoint, parts) for endpoint in ENDPOINTS)
    for kind in (ServiceError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _refused)
    app.add_middleware(Edge, settings=parts.settings)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) else None
    return problems.response_to(problems.from_exception(error), request.url.path, headers)
