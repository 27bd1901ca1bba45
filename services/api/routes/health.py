"""``/healthz``, ``/readyz`` and ``/metrics``: is it alive, can it work, how does it go."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.shared.contracts.base import SERVICES, Empty, Principal
from libs.shared.contracts.telemetry import METRICS, DependencyHealth
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger, merge_metrics, metrics_text
from services.api.access import Access
from services.api.parts import Parts
from services.api.routing import Endpoint, PartsOf, parts_of

log = get_logger(__name__)
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Alive(BaseModel):
    """This process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """By dependency; ``degraded`` says what works less well than it could, and why."""

    ready: bool
    dependencies: dict[str, DependencyHealth]
    degraded: list[str]


async def healthz() -> Alive:
    """Alive."""
    return Alive()


async def readyz(request: Request) -> Response:
    """200 when every dependency is well, 503 otherwise; the body names each."""
    found = await parts_of(request).readiness.read()
    told = Ready(ready=found.ready, dependencies=found.dependencies, degraded=list(found.degraded))
    return JSONResponse(told.model_dump(mode="json"), 200 if found.ready else 503)


async def read_metrics(parts: PartsOf) -> Response:
    """Every service's metrics in Prometheus' text format; one that doesn't answer is left out."""
    others = [service for service in SERVICES if service is not Principal.API]
    gathered = await asyncio.gather(*(_metrics_of(parts, service) for service in others))
    texts = [metrics_text(), *(text for text in gathered if text is not None)]
    return Response(merge_metrics(texts), media_type=_EXPOSITION)


async def _metrics_of(parts: Parts, service: Principal) -> str | None:
    try:
        return (await parts.bus.request(METRICS[service], Empty())).text
    except ServiceError as error:
        log.info("metrics_missing", of=service.value, code=error.code)
        return None


_OPTIONS: dict[str, Any] = {"tags": ["health"]}
_TEXT: dict[str, Any] = {**_OPTIONS, "responses": {200: {"content": {"text/plain": {}}}}, "response_class": Response}
_READY: dict[str, Any] = {**_OPTIONS, "responses": {200: {"model": Ready}, 503: {"model": Ready}}}
ENDPOINTS = (
    Endpoint(method="GET", path="/healthz", handler=healthz, access=Access.OPEN, options=_OPTIONS),
    Endpoint(method="GET", path="/readyz", handler=readyz, access=Access.OPEN, plain=True, options=_READY),
    Endpoint(method="GET", path="/metrics", handler=read_metrics, access=Access.METRICS, options=_TEXT),
)
