"""A turn's chunks in OpenAI's words, whole or streamed, as bytes. Pure."""

from __future__ import annotations

import json
from typing import Any

from libs.shared.contracts.chat import ChatChunk
from libs.shared.contracts.common import Usage
from libs.shared.errors import ServiceError
from services.api import problems

DONE = b"data: [DONE]\n\n"
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def answer_headers(turn_id: str, chunk: ChatChunk) -> list[tuple[bytes, bytes]]:
    """What the headers of an answer tell, from its first chunk (or, whole, from all of it)."""
    found = [(b"x-request-id", turn_id.encode()), (b"x-mongars-turn-id", turn_id.encode())]
    if chunk.conversation_id is not None:
        found.append((b"x-mongars-conversation-id", chunk.conversation_id.encode()))
    if chunk.degraded is not None:
        found.append((b"x-mongars-degraded", chunk.degraded.encode("ascii", "replace")))
    if chunk.remote is not None:
        found.append((b"x-mongars-remote", chunk.remote.encode("ascii", "replace")))
    return found


def explanation(chunk: ChatChunk) -> dict[str, Any] | None:
    """What was recalled and what the model was given, when it was asked for."""
    if chunk.recalled is None and chunk.prompt is None:
        return None
    told = chunk.model_dump(mode="json", include={"recalled", "prompt"})
    return {"recalled": told["recalled"] or [], "prompt": told["prompt"] or []}


def usage_of(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.reasoning_tokens is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told


class WholeAnswer:
    """Collects a turn's chunks into one chat completion."""

    def __init__(self, turn_id: str, created: int, asked_model: str | None) -> None:
        self._turn_id = turn_id
        self._created = created
        self._model = asked_model
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[dict[str, Any]] = []
        self._finish_reason: str | None = None
        self._explanation: dict[str, Any] | None = None
        self.conversation_id: str | None = None
        self.degraded: str | None = None
        self.remote: str | None = None
        self.usage: Usage | None = None

    @property
    def complete(self) -> bool:
        return self._finish_reason is not None

    def add(self, chunk: ChatChunk) -> None:
        if chunk.retracts:
            self._reasoning, self._text = [*self._reasoning, *self._text], []
        self._text.append(chunk.text)
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        for call in chunk.tool_calls:
            _merge(self._tool_calls, call)
        self._model = chunk.model or self._model
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self.conversation_id = chunk.conversation_id or self.conversation_id
        self.degraded = chunk.degraded or self.degraded
        self.remote = chunk.remote or self.remote
        self.usage = chunk.usage or self.usage
        self._explanation = self._explanation or explanation(chunk)

    def body(self) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text), "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._tool_calls:
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in self._tool_calls]
            message["content"] = message["content"] or None
        told: dict[str, Any] = {
            "id": f"chatcmpl-{self._turn_id}",
            "object": "chat.completion",
            "created": self._created,
            "model": self._model or "",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}],
        }
        if self.usage is not None:
            told["usage"] = usage_of(self.usage)
        if self._explanation is not None:
            told["mongars"] = self._explanation
        return _encode(told).encode("utf-8", "replace")


def _merge(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Adds a piece of a tool call: one with a known index goes on where that call stopped."""
    index = piece.get("index", len(calls))
    known = next((call for call in calls if call.get("index") == index), None)
    if known is None:
        function = piece.get("function")
        calls.append({**piece, "index": index, **({"function": dict(function)} if function else {})})
        return
    added = piece.get("function") or {}
    function = known.setdefault("function", {})
    function["arguments"] = function.get("arguments", "") + (added.get("arguments") or "")
    for name, value in added.items():
        if name != "arguments" and value and not function.get(name):
            function[name] = value
    if piece.get("id") and not known.get("id"):
        known["id"] = piece["id"]


class StreamedAnswer:
    """Renders a turn's chunks as server-sent events; what is the same in all of them is encoded once."""

    def __init__(self, turn_id: str, created: int, model: str, *, include_usage: bool) -> None:
        head = {"id": f"chatcmpl-{turn_id}", "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = "data: " + _encode(head)[:-1]
        self._turn_id = turn_id
        self._include_usage = include_usage
        self._tail = ',"usage":null}\n\n' if include_usage else "}\n\n"
        self._tool_calls = 0

    def first(self, chunk: ChatChunk) -> bytes:
        """The role, with the explanation when there is one, and then what the first chunk says."""
        told = explanation(chunk)
        more = f',"mongars":{_encode(told)}' if told is not None else ""
        role = self._event('{"role":"assistant","content":""}', "null", more)
        return role + self.piece(chunk)

    def piece(self, chunk: ChatChunk) -> bytes:
        """What one chunk adds; nothing for a chunk that adds nothing."""
        delta: dict[str, Any] = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.tool_calls:
            delta["tool_calls"] = [self._indexed(call) for call in chunk.tool_calls]
        events = self._event(_encode(delta), "null") if delta else b""
        if chunk.finish_reason is not None:
            events += self._event("{}", f'"{chunk.finish_reason}"')
        return events

    def end(self, usage: Usage | None) -> bytes:
        """The usage, when it was asked for, and the end."""
        if not self._include_usage or usage is None:
            return DONE
        return f'{self._head},"choices":[],"usage":{_encode(usage_of(usage))}}}\n\n'.encode() + DONE

    def broken(self, error: ServiceError) -> bytes:
        """The error that ended the answer early; it names the turn, and no end follows it."""
        told = problems.openai_error(error, problems.status_of(error, "/v1/"))
        return f"data: {_encode({'error': {**told, 'turn_id': self._turn_id}})}\n\n".encode("utf-8", "replace")

    def _event(self, delta: str, finish_reason: str, more: str = "") -> bytes:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish_reason}}}'
        return f'{self._head},"choices":[{choice}]{more}{self._tail}'.encode("utf-8", "replace")

    def _indexed(self, call: dict[str, Any]) -> dict[str, Any]:
        """A tool call with the index that OpenAI's clients assemble it by."""
        if "index" not in call:
            call = {"index": self._tool_calls, **call}
            self._tool_calls += 1
        return call
