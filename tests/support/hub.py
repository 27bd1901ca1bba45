"""A server that speaks the Hugging Face hub's protocol: listings with checksums, redirects to a CDN, ranges, faults."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

COMMIT = "a" * 40
NEXT_COMMIT = "b" * 40
_PIECE = 64 * 1024


@dataclass
class Upstream:
    """A file, and how the server behaves about it; tests change it while it serves."""

    content: bytes
    lfs: bool = True
    etag: str = '"cdn-1"'
    told_sha256: str | None = None
    """Instead of the true one."""
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """The first requests are cut off after so many bytes each."""
    stall_after: list[int] = field(default_factory=list)
    """The first requests get so many bytes each, and then nothing more until they go away."""

    @property
    def sha256(self) -> str:
        return self.told_sha256 or hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class LocalHub:
    """Repositories by name; ``requests`` are those for content, with their headers, and ``url`` is set when it runs."""

    repositories: dict[str, dict[str, Upstream]] = field(default_factory=dict)
    commit: str = COMMIT
    gated: set[str] = field(default_factory=set)
    requests: list[dict[str, str]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    """Clients that went away while nothing came."""
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/models/{owner}/{name}", self._info)
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._info)
        app.router.add_get("/{owner}/{name}/resolve/{revision}/{file:.+}", self._resolve)
        app.router.add_get("/cdn/{owner}/{name}/{file:.+}", self._content)
        app.router.add_get("/plain/{owner}/{name}/{file:.+}", self._content)
        return app

    def _files(self, request: web.Request) -> tuple[str, dict[str, Upstream]]:
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        if name in self.gated and request.headers.get("Authorization") != "Bearer let-me-in":
            raise web.HTTPUnauthorized(
                headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
            )
        if name not in self.repositories:
            raise web.HTTPUnauthorized(headers={"X-Error-Code": "RepoNotFound"})
        return name, self.repositories[name]

    async def _info(self, request: web.Request) -> web.Response:
        name, files = self._files(request)
        siblings = []
        for file, upstream in files.items():
            row: dict[str, object] = {"rfilename": file, "size": len(upstream.content), "blobId": upstream.blob_id}
            if upstream.lfs:
                row["lfs"] = {"sha256": upstream.sha256, "size": len(upstream.content), "pointerSize": 134}
            siblings.append(row)
        told = {"id": name, "sha": self.commit, "cardData": {"license": "apache-2.0"}, "siblings": siblings}
        return web.Response(text=json.dumps(told), content_type="application/json")

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        name, files = self._files(request)
        self.asked.append(dict(request.headers))
        file = request.match_info["file"]
        if file not in files:
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
        upstream = files[file]
        if not upstream.lfs:
            return await self._content(request)
        headers = {
            "X-Repo-Commit": self.commit,
            "X-Linked-Size": str(len(upstream.content)),
            "X-Linked-Etag": f'"{upstream.sha256}"',
        }
        # another origin, as a CDN is
        place = f"http://localhost:{request.url.port}/cdn/{name}/{file}"
        raise web.HTTPFound(place, headers=headers)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        upstream = self.repositories[f"{request.match_info['owner']}/{request.match_info['name']}"][
            request.match_info["file"]
        ]
        self.requests.append(dict(request.headers))
        start = self._start(request, upstream)
        whole = len(upstream.content)
        headers = {"ETag": upstream.etag}
        if start is not None and start >= whole:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{whole}"})
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        body = upstream.content[start or 0 :]
        response = web.StreamResponse(status=200 if start is None else 206, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        if upstream.break_after:
            await response.write(body[: upstream.break_after.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return response
        if upstream.stall_after:
            await response.write(body[: upstream.stall_after.pop(0)])
            await self._left(request)
            return response
        for begin in range(0, len(body), _PIECE):
            await response.write(body[begin : begin + _PIECE])
        await response.write_eof()
        return response

    async def _left(self, request: web.Request) -> None:
        """Returns when the client has gone."""
        try:
            await asyncio.Event().wait()  # ended from outside: the handler is cancelled with its connection
        finally:
            self.left += 1

    def _start(self, request: web.Request, upstream: Upstream) -> int | None:
        wanted = request.headers.get("Range", "")
        if not upstream.ranges or not wanted or request.headers.get("If-Range", upstream.etag) != upstream.etag:
            return None
        return int(wanted.removeprefix("bytes=").partition("-")[0])


async def serve(hub: LocalHub) -> web.AppRunner:
    """Starts it in this loop; the caller cleans the runner up."""
    runner = web.AppRunner(hub.app(), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


@contextmanager
def in_a_thread(hub: LocalHub) -> Iterator[LocalHub]:
    """For tests that run the real command."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    runners: list[web.AppRunner] = []

    async def begin() -> None:
        runners.append(await serve(hub))
        started.set()

    def run() -> None:
        loop.run_until_complete(begin())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield hub
    finally:
        asyncio.run_coroutine_threadsafe(runners[0].cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
