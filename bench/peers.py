"""The gateways that monGARS is measured beside: a FastAPI + aiohttp proxy, and LiteLLM's where it is installed.

``python -m bench.peers upstream|proxy --port N`` runs one of the two that need no installation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn
from aiohttp import web
from fastapi import FastAPI, Request, Response

ANSWER_TOKENS = 16
ANSWER_TEXT = "One answer of sixteen tokens that costs nothing to make, so the way to it shows."


def completion() -> dict[str, Any]:
    """What the instant upstream answers to everything, in OpenAI's shape."""
    return {
        "id": "chatcmpl-instant",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "instant",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER_TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": ANSWER_TOKENS, "total_tokens": 8 + ANSWER_TOKENS},
    }


def upstream() -> web.Application:
    """An OpenAI-compatible server that answers at once."""

    async def answer(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(completion())

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    return app


def proxy(upstream_url: str, key: str) -> FastAPI:
    """The least that a gateway does: check a key, parse the JSON, pass it on with aiohttp, parse the answer."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {key}":
            return Response(status_code=401)
        body = json.loads(await request.body())
        async with request.app.state.session.post(f"{upstream_url}/v1/chat/completions", json=body) as answer:
            return Response(json.dumps(await answer.json()), media_type="application/json")

    return app


def litellm_config(upstream_url: str, key: str) -> str:
    """A proxy configuration with one model behind the instant upstream; ``key`` is the master key."""
    config = {
        "model_list": [
            {
                "model_name": "instant",
                "litellm_params": {"model": "openai/instant", "api_base": f"{upstream_url}/v1", "api_key": "none"},
            }
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }
    return json.dumps(config)  # JSON is YAML


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("upstream", "proxy"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", default="")
    parser.add_argument("--key", default="")
    args = parser.parse_args()
    if args.role == "upstream":
        web.run_app(upstream(), host="127.0.0.1", port=args.port, print=None, access_log=None)
    else:
        app = proxy(args.upstream, args.key)
        uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning", access_log=False, loop="uvloop")


if __name__ == "__main__":
    main()
