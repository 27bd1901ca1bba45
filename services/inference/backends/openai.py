"""Any OpenAI-compatible server: its models are offered while it answers, and everything is passed through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, ContextExceeded, RemoteNotAllowed, ServiceError
from services.inference.backends.base import Changed, prompt_bytes
from services.inference.backends.upstream import Probe, Upstream, UpstreamRefused, refusal, troubles_of
from services.inference.consent import Consent
from services.inference.models import ModelSpec

DEFAULT_SLOTS = 32
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


class OpenAIBackend:
    """One upstream; with a name in its spec one model of it, without one all that it lists."""

    name = "openai"

    def __init__(self, spec: ModelSpec, consent: Consent, *, default_context_tokens: int) -> None:
        assert spec.url is not None
        self._spec = spec
        self._consent = consent
        self._default_context = default_context_tokens
        self.upstream = Upstream(spec.url, _authorization(spec.api_key_file), consent)
        self._probe = Probe(spec.label, self._look)
        self._served: dict[str, ServedModel] = {}
        self._their_names: dict[str, str] = {}
        self._failure: ServiceError | None = None
        self._changed: Changed = lambda: None
        self._unlisten: Callable[[], None] = lambda: None
        self._cutting: asyncio.Task[None] | None = None
        self.slots = spec.slots(DEFAULT_SLOTS)

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        self._unlisten = self._consent.on_change(self._consent_changed)
        await self._probe.start()

    def models(self) -> tuple[ServedModel, ...]:
        return tuple(self._served.values())

    def troubles(self) -> tuple[str, ...]:
        return troubles_of(self._spec.label, self._failure)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        model = self._served.get(request.model)
        if model is None:
            raise BackendFailed("the upstream went away", reason="unreachable")
        answer = Answer(prompt_bytes(request))
        try:
            async with self.upstream.lines("/chat/completions", self._body(request)) as lines:
                async for line in lines:
                    if chunk := answer.read(line):
                        yield chunk
        except UpstreamRefused as error:
            raise refused(error, model.context_tokens) from error
        except BackendFailed:
            self._probe.soon()
            raise
        yield answer.last()

    async def close(self) -> None:
        self._unlisten()
        await self._probe.close()
        await self.upstream.close()

    async def look(self) -> None:
        """Lists the server's models. Raises RemoteNotAllowed, BackendFailed, ModelNotFound, Overloaded."""
        await self.upstream.admit()
        try:
            listed = {str(entry["id"]): entry for entry in (await self.upstream.get("/models"))["data"]}
            served = self._wanted(listed)
        except UpstreamRefused as error:
            raise refusal(error) from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise BackendFailed("this is no server that speaks OpenAI's API", reason="protocol") from error
        self._set(served)

    def _wanted(self, listed: dict[str, dict[str, Any]]) -> dict[str, ServedModel]:
        """By the name under which each is offered; a remote server's models are named after it."""
        if self._spec.name:
            theirs = str(self._spec.options.get("model", self._spec.name))
            self._their_names = {self._spec.name: theirs}
            return {self._spec.name: self._model(self._spec.name, listed.get(theirs, {}))}
        chosen = [name for name in listed if not self._spec.models or name in self._spec.models]
        mark = f"{self._spec.server}/" if self.upstream.remote else ""
        self._their_names = {mark + name: name for name in chosen}
        return {ours: self._model(ours, listed[theirs]) for ours, theirs in self._their_names.items()}

    def _body(self, request: GenerateRequest) -> dict[str, Any]:
        return chat_body(request) | {"model": self._their_names.get(request.model, request.model)}

    async def _look(self) -> bool:
        try:
            await self.look()
        except ServiceError as error:
            self._failure = error
            self._set({})
            return False
        self._failure = None
        return True

    def _consent_changed(self) -> None:
        """What is under way to a remote server ends when it is no longer allowed."""
        if self.upstream.remote and not self._consent.allowed:
            self._failure = RemoteNotAllowed()
            self._set({})
            self._cutting = asyncio.create_task(self.upstream.close())
        self._probe.soon()

    def _set(self, served: dict[str, ServedModel]) -> None:
        if served != self._served:
            self._served = served
            self._changed()

    def _model(self, name: str, entry: dict[str, Any]) -> ServedModel:
        options = self._spec.options
        stated = self._spec.context_tokens or _context(entry) or self._default_context
        return ServedModel(
            name=name,
            backend=self.name,
            context_tokens=stated,
            tools=bool(options.get("tools", True)),
            images=bool(options.get("images", True)),
            json_schema=bool(options.get("json_schema", True)),
            remote=bool(self.upstream.remote),
            upstream=self._spec.server,
        )


class Answer:
    """Reads the events of a chat completion; keeps the end until the usage, which comes after it, is known."""

    def __init__(self, prompt_size: int) -> None:
        self._prompt_size = prompt_size
        self._pieces = 0
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._calls: dict[int, dict[str, Any]] = {}

    def read(self, line: bytes) -> GenerateChunk | None:
        """The chunk that one line of server-sent events brings, if any."""
        if not line.startswith(b"data:") or (data := line[5:].strip()) == b"[DONE]":
            return None
        return self.event(json.loads(data))

    def event(self, event: dict[str, Any]) -> GenerateChunk | None:
        """The chunk that one event brings, if any. Raises BackendFailed for an error told in the stream."""
        if event.get("error"):
            raise BackendFailed("the upstream failed during its answer", reason="upstream_error")
        self._count(event.get("usage"))
        choices = event.get("choices") or []
        return self._delta(choices[0]) if choices else None

    def last(self) -> GenerateChunk:
        """The end. Raises BackendFailed when the upstream stopped without saying why."""
        if self._finish is None:
            raise BackendFailed("the upstream broke off", reason="broke_off")
        usage = self._usage or Usage(prompt_tokens=self._prompt_size // 4, completion_tokens=self._pieces)
        finish = self._finish if self._finish in FINISH_REASONS else "stop"
        calls = tuple(self._calls[index] for index in sorted(self._calls))
        return GenerateChunk.model_validate({"finish_reason": finish, "usage": usage, "tool_calls": calls})

    def _delta(self, choice: dict[str, Any]) -> GenerateChunk | None:
        delta = choice.get("delta") or {}
        self._finish = choice.get("finish_reason") or self._finish
        for call in delta.get("tool_calls") or ():
            self._join(call)
        text = delta.get("content") or ""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if not text and not reasoning:
            return None
        self._pieces += 1
        return GenerateChunk(text=text, reasoning=reasoning)

    def _join(self, call: dict[str, Any]) -> None:
        """Calls come in pieces of their arguments; they are told whole, at the end."""
        blank = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        kept = self._calls.setdefault(call.get("index", len(self._calls)), blank)
        kept["id"] = call.get("id") or kept["id"]
        function = call.get("function") or {}
        kept["function"]["name"] += function.get("name") or ""
        kept["function"]["arguments"] += function.get("arguments") or ""

    def _count(self, usage: dict[str, Any] | None) -> None:
        if usage:
            self._usage = Usage(
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
                reasoning_tokens=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
                cached_tokens=_detail(usage, "prompt_tokens_details", "cached_tokens"),
            )


def _detail(usage: dict[str, Any], of: str, name: str) -> int | None:
    details = usage.get(of)
    told = details.get(name) if isinstance(details, dict) else None
    return max(0, told) if isinstance(told, int) else None


def chat_body(request: GenerateRequest) -> dict[str, Any]:
    """The request in OpenAI's format, streaming, with usage at its end."""
    body: dict[str, Any] = {
        "messages": [message.model_dump(mode="json", exclude_defaults=True) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    # A part's type is its default, and would be left out above.
    for given, message in zip(body["messages"], request.messages, strict=True):
        given["role"] = message.role
        if isinstance(message.content, tuple):
            given["content"] = [part.model_dump(mode="json") for part in message.content]
    body |= request.sampling.model_dump(mode="json", exclude_defaults=True)
    body |= request.tools.model_dump(mode="json", exclude_defaults=True)
    return body


def refused(error: UpstreamRefused, context_tokens: int) -> ServiceError:
    """As ``refusal``; a prompt that is too long is told with its figures where the upstream gives them."""
    told: dict[str, Any] = {}
    with suppress(ValueError):
        found = json.loads(error.body).get("error")
        told = found if isinstance(found, dict) else {"message": str(found)}
    kind = f"{told.get('code', '')} {told.get('type', '')} {told.get('message', '')}"
    if error.status == 400 and any(sign in kind for sign in ("context_length", "context_size", "context length")):
        return ContextExceeded(
            "the prompt is longer than the model's context",
            prompt_tokens=int(told.get("n_prompt_tokens") or context_tokens + 1),
            context_tokens=int(told.get("n_ctx") or context_tokens),
        )
    return refusal(error)


def _authorization(key_file: Path | None) -> dict[str, str]:
    if key_file is None:
        return {}
    try:
        return {"Authorization": f"Bearer {key_file.expanduser().read_text().strip()}"}
    except OSError as error:
        raise BackendFailed("the upstream's key file can't be read", reason="no_key") from error


def _context(entry: dict[str, Any]) -> int | None:
    """vLLM, OpenRouter and llama.cpp each say it under a name of their own."""
    meta = entry.get("meta") or {}
    stated = entry.get("max_model_len") or entry.get("context_length") or meta.get("n_ctx") or meta.get("n_ctx_train")
    return int(stated) if stated else None
