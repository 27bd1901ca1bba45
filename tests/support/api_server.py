"""As much of Kubernetes' API server as scaling asks: Deployments and their scale, autoscalers, access by name.

Paths, bodies, merge patches, optimistic locking by ``resourceVersion`` and the statuses 401, 403, 404, 409 and 415 are
those of ``apps/v1``, ``autoscaling/v2`` and RBAC's ``resourceNames``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKEN = "a-service-account's"
NAMESPACE = "home"
MERGE = "application/merge-patch+json"


@dataclass
class Deployment:
    replicas: int
    ready: int
    version: int = 1


@dataclass
class ApiServer:
    """``may_scale``: the names that the account's role lists; ``reads``: whether it may read Deployments themselves."""

    url: str = ""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    may_scale: set[str] = field(default_factory=set)
    may_read: bool = True
    may_list_autoscalers: bool = True
    autoscalers: list[dict[str, Any]] = field(default_factory=list)
    keda: list[dict[str, Any]] | None = None
    before_patch: Callable[[], None] = lambda: None
    patched: list[tuple[str, int]] = field(default_factory=list)

    async def deployment(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not self.may_read or name not in self.may_scale:
            return _status(403)
        found = self.deployments.get(name)
        if found is None:
            return _status(404)
        return web.json_response(
            {"spec": {"replicas": found.replicas}, "status": {"readyReplicas": found.ready} if found.ready else {}}
        )

    async def scale(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.may_scale:
            return _status(403)
        found = self.deployments.get(name)
        if found is None:
            return _status(404)
        if request.method == "PATCH":
            if request.content_type != MERGE:
                return _status(415)
            self.before_patch()
            told = await request.json()
            if told["metadata"]["resourceVersion"] != str(found.version):
                return _status(409)
            found.replicas, found.version = int(told["spec"]["replicas"]), found.version + 1
            self.patched.append((name, found.replicas))
        return web.json_response(
            {
                "kind": "Scale",
                "metadata": {"name": name, "resourceVersion": str(found.version)},
                "spec": {"replicas": found.replicas},
                "status": {"replicas": found.ready},
            }
        )

    async def list_autoscalers(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.autoscalers}) if self.may_list_autoscalers else _status(403)

    async def list_keda(self, request: web.Request) -> web.Response:
        return _status(404) if self.keda is None else web.json_response({"items": self.keda})


def target(name: str, kind: str = "Deployment") -> dict[str, Any]:
    """An autoscaler's item."""
    return {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}, "maxReplicas": 5}}


@web.middleware
async def _authenticated(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return _status(401)
    answer: web.StreamResponse = await handler(request)
    return answer


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code}, status=code)


def make_account(folder: Path) -> Path:
    """A service account's folder."""
    folder.mkdir()
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "namespace").write_text(NAMESPACE)
    return folder


@asynccontextmanager
async def api_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[ApiServer]:
    """Listens."""
    server, app = ApiServer(), web.Application(middlewares=[_authenticated])
    one = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{{name}}"
    app.router.add_get(one, server.deployment)
    app.router.add_route("GET", f"{one}/scale", server.scale)
    app.router.add_route("PATCH", f"{one}/scale", server.scale)
    app.router.add_get(f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers", server.list_autoscalers)
    app.router.add_get(f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects", server.list_keda)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.url = str(site.name)
    try:
        yield server
    finally:
        await runner.cleanup()
