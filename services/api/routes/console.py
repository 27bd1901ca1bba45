"""``/``: the console, static files that this process reads once and serves from memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.api.access import Access
from services.api.errors import NotFound
from services.api.routing import Endpoint

_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = ("index.html", "console.css", "console.js", "icon.svg")


@dataclass(frozen=True)
class _File:
    body: bytes
    kind: str
    tag: str


@cache
def _file(name: str) -> _File:
    body = (resources.files("services.api") / "console" / name).read_bytes()
    return _File(body, _KINDS[name.rpartition(".")[2]], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


async def read_console(request: Request) -> Response:
    """The page."""
    return _served(request, "index.html")


async def read_file(request: Request) -> Response:
    """A file of the page."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise NotFound("The console has no such file.")
    return _served(request, name)


def _served(request: Request, name: str) -> Response:
    file = _file(name)
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.kind, headers=headers)


_OPTIONS: dict[str, Any] = {"include_in_schema": False}
ENDPOINTS = (
    Endpoint(method="GET", path="/", handler=read_console, access=Access.OPEN, plain=True, options=_OPTIONS),
    Endpoint(method="GET", path="/console/{name}", handler=read_file, access=Access.OPEN, plain=True, options=_OPTIONS),
)
