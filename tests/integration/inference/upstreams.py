"""Upstream servers that speak the true protocols, and misbehave when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.broker import free_port

WORDS = ("Bees", " live", " in", " hives", ".")


class FakeUpstream:
    """What an upstream was asked, and how it answers. ``pause`` is waited for after the first word."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[dict[str, Any]] = []
        self.pause = asyncio.Event()
        self.pause.set()
        self.left = asyncio.Event()
        self.status = 200
        self.refusal: dict[str, Any] = {"error": {"message": "no"}}
        self.retry_after: str | None = None
        self.break_off = False
        self.key: str | None = None
        """Whoever brings another is refused."""
        self.words: tuple[str, ...] = WORDS
        self.connections = 0
        self.host = "127.0.0.1"
        self.redirect: str | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        application = web.Application(middlewares=[self._watched])
        application.add_routes(self.routes())
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _watched(self, request: web.Request, handler: Any) -> Any:
        self.connections += 1
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        if self.redirect is not None:
            raise web.HTTPTemporaryRedirect(self.redirect)
        return await handler(request)

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({"headers": dict(request.headers), **await request.json()})
        if self.status != 200:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response(self.refusal, status=self.status, headers=headers)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await self._stream(response)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    async def _stream(self, response: web.StreamResponse) -> None:
        for number, word in enumerate(self.words):
            await response.write(self.word(word))
            if number == 0:
                await self.pause.wait()
                if self.break_off:
                    return
        for line in self.end():
            await response.write(line)

    def word(self, word: str) -> bytes:
        raise NotImplementedError

    def end(self) -> list[bytes]:
        raise NotImplementedError


class FakeOpenAI(FakeUpstream):
    """``/v1`` of an OpenAI-compatible server."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/models", self.models), web.post("/v1/chat/completions", self.chat)]

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "big", "max_model_len": 4096}, {"id": "small"}]})

    def word(self, word: str) -> bytes:
        return _event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})

    def end(self) -> list[bytes]:
        return [
            _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            _event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}),
            b"data: [DONE]\n\n",
        ]


class FakeOllama(FakeUpstream):
    """``/api`` of an Ollama with a local model, one that answers in a cloud, and one that only embeds."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/version", self.version),
            web.get("/api/tags", self.tags),
            web.post("/api/show", self.show),
            web.post("/api/chat", self.chat),
        ]

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.30.0"})

    async def tags(self, request: web.Request) -> web.Response:
        cloud = {"name": "huge:cloud", "digest": "c", "remote_host": "https://elsewhere.invalid"}
        return web.json_response(
            {"models": [{"name": "llama:latest", "digest": "a"}, {"name": "vectors:1", "digest": "b"}, cloud]}
        )

    async def show(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        capabilities = ["embedding"] if name.startswith("vectors") else ["completion", "tools"]
        return web.json_response({"capabilities": capabilities, "model_info": {"llama.context_length": 131_072}})

    def word(self, word: str) -> bytes:
        return json.dumps({"message": {"role": "assistant", "content": word}, "done": False}).encode() + b"\n"

    def end(self) -> list[bytes]:
        last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
        return [json.dumps(last | {"prompt_eval_count": 11, "eval_count": 5}).encode() + b"\n"]


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@asynccontextmanager
async def running_upstream(upstream: FakeUpstream) -> AsyncIterator[FakeUpstream]:
    await upstream.start()
    try:
        yield upstream
    finally:
        upstream.pause.set()
        await upstream.stop()
