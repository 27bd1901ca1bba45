"""``POST /v1/chat/completions``: one turn, whole or streamed, stopped at once when the client leaves."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.shared.contracts.chat import ChatChunk, ChatRequest
from libs.shared.contracts.common import Usage
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.api.access import Access
from services.api.answers import StreamedAnswer, WholeAnswer, answer_headers
from services.api.bodies import parse, read_body
from services.api.clients import WhileConnected
from services.api.completions import ChatCompletionRequest, turn_for
from services.api.gate import ALLOWANCE
from services.api.on_behalf import served
from services.api.parts import Parts
from services.api.routing import Endpoint, caller_of, parts_of
from services.api.turns import ended_early, opened

log = get_logger(__name__)


async def create_chat_completion(request: Request) -> Response:
    """Answers a turn; OpenAI's official client works unchanged."""
    parts, caller = parts_of(request), caller_of(request)
    await parts.preemption.tell("chat")
    wanted = parse(ChatCompletionRequest, await read_body(request.receive))
    caller, chat = await served(parts.bus, caller, request.headers, wanted.user)
    turn = turn_for(
        *(wanted, caller), chat=chat, turn_id=secrets.token_hex(16), most_output_tokens=parts.settings.max_output_tokens
    )
    if wanted.stream:
        return _Streamed(parts, turn, include_usage=wanted.include_usage)
    return await _whole(request, parts, turn)


async def _whole(request: Request, parts: Parts, turn: ChatRequest) -> Response:
    answer = WholeAnswer(turn.turn_id, int(parts.clock()), turn.model)
    patience_s = parts.settings.restart_patience_s
    async with WhileConnected(request.receive), opened(parts.bus, turn, patience_s=patience_s) as (first, chunks):
        answer.add(first)
        async for chunk in chunks:
            answer.add(chunk)
    if not answer.complete:
        raise ended_early(turn)
    _charge(request.scope, parts, answer.usage)
    response = Response(answer.body(), media_type="application/json")
    told = ChatChunk(
        turn_id=turn.turn_id,
        conversation_id=answer.conversation_id,
        degraded=answer.degraded,
        remote=answer.remote,
    )
    response.raw_headers += answer_headers(turn.turn_id, told)
    return response


class _Streamed(Response):
    """Server-sent events. Its head waits for the first chunk, so that a refusal still has its own status."""

    def __init__(self, parts: Parts, turn: ChatRequest, *, include_usage: bool) -> None:
        super().__init__()
        self._parts = parts
        self._turn = turn
        self._include_usage = include_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        patience_s = self._parts.settings.restart_patience_s
        async with (
            WhileConnected(receive),
            opened(self._parts.bus, self._turn, patience_s=patience_s) as (first, chunks),
        ):
            answer = StreamedAnswer(
                self._turn.turn_id,
                int(self._parts.clock()),
                first.model or self._turn.model or "",
                include_usage=self._include_usage,
            )
            await send(_start(self._turn.turn_id, first))
            end = await self._send_all(scope, send, answer, first, chunks)
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _send_all(
        self, scope: Scope, send: Send, answer: StreamedAnswer, first: ChatChunk, chunks: AsyncIterator[ChatChunk]
    ) -> bytes:
        """Sends each chunk as it comes, and returns what is left to say."""
        finished, usage = first.finish_reason is not None, first.usage
        try:
            await send(_body(answer.first(first)))
            async for chunk in chunks:
                finished, usage = finished or chunk.finish_reason is not None, chunk.usage or usage
                piece = answer.piece(chunk)
                if piece:
                    await send(_body(piece))
            if not finished:
                raise ended_early(self._turn)
        except ServiceError as error:
            log.warning("answer_broke_off", code=error.code, turn_id=self._turn.turn_id)
            return answer.broken(error)
        _charge(scope, self._parts, usage)
        return answer.end(usage)


def _charge(scope: Scope, parts: Parts, usage: Usage | None) -> None:
    if usage is not None:
        parts.limits.spend_tokens(scope[ALLOWANCE], usage.prompt_tokens + usage.completion_tokens)


def _start(turn_id: str, first: ChatChunk) -> dict[str, Any]:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        *answer_headers(turn_id, first),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _body(piece: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": True}


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        handler=create_chat_completion,
        access=Access.CHAT,
        plain=True,
        body=ChatCompletionRequest,
        options={"tags": ["openai"]},
    ),
)
