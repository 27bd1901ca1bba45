"""An Ollama on this machine, by its own API: the OpenAI path of it cuts prompts silently, here ``num_ctx`` is set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from libs.shared.contracts.chat import ChatMessage, ImagePart
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, ContextExceeded, InvalidRequest, RemoteNotAllowed, ServiceError
from services.inference.backends.base import Changed, prompt_bytes
from services.inference.backends.upstream import Probe, Upstream, UpstreamRefused, refusal, troubles_of
from services.inference.consent import Consent
from services.inference.models import ModelSpec

DEFAULT_SLOTS = 4
MOST_BYTES_PER_TOKEN = 6.0
"""Of any usual text: a prompt of more bytes than the context holds at this density surely does not fit."""


class OllamaBackend:
    """Every model of one Ollama, offered while it answers; those with a ``remote_host`` are remote ones."""

    name = "ollama"

    def __init__(self, spec: ModelSpec, consent: Consent, *, context_tokens: int) -> None:
        assert spec.url is not None
        self._spec = spec
        self._consent = consent
        self._context_tokens = spec.context_tokens or context_tokens
        self.upstream = Upstream(spec.url, {}, consent)
        self._far = Upstream(spec.url, {}, consent)
        """Connections of their own for what goes on to a cloud, so that they can be cut."""
        self._probe = Probe(spec.label, self._look)
        self._served: dict[str, ServedModel] = {}
        self._digests: dict[str, str] = {}
        self._their_names: dict[str, str] = {}
        self._failure: ServiceError | None = None
        self._changed: Changed = lambda: None
        self._unlisten: Callable[[], None] = lambda: None
        self._cutting: asyncio.Task[None] | None = None
        self._seen = bool(spec.upstream)
        self.slots = spec.slots(DEFAULT_SLOTS)

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        self._unlisten = self._consent.on_change(self._consent_changed)
        await self._probe.start()

    def models(self) -> tuple[ServedModel, ...]:
        return tuple(self._served.values())

    def troubles(self) -> tuple[str, ...]:
        """An Ollama that was never there was never promised."""
        return troubles_of(self._spec.label, self._failure) if self._seen else ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        model = self._served.get(request.model)
        if model is None:
            raise BackendFailed("the upstream went away", reason="unreachable")
        _check_context(prompt_bytes(request), model.context_tokens)
        answer = _Answer()
        try:
            async with (await self._way(model)).lines("/api/chat", self._body(request, model)) as lines:
                async for line in lines:
                    if line and (chunk := answer.read(line)):
                        yield chunk
        except UpstreamRefused as error:
            raise _refused(error, model.context_tokens) from error
        except BackendFailed:
            self._probe.soon()
            raise
        yield answer.last()

    async def close(self) -> None:
        self._unlisten()
        await self._probe.close()
        await self.upstream.close()
        await self._far.close()

    async def look(self) -> None:
        """Lists the models that can chat. Raises RemoteNotAllowed, BackendFailed, ModelNotFound, Overloaded."""
        await self.upstream.admit()
        try:
            listed = (await self.upstream.get("/api/tags"))["models"]
            served = [await self._describe(entry) for entry in listed]
        except UpstreamRefused as error:
            raise refusal(error) from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise BackendFailed("this is no Ollama", reason="protocol") from error
        self._seen = True
        self._set(tuple(model for model in served if model is not None))

    async def _look(self) -> bool:
        try:
            await self.look()
        except ServiceError as error:
            self._failure = error
            self._set(())
            return False
        self._failure = None
        return True

    async def _way(self, model: ServedModel) -> Upstream:
        """A remote model has connections of its own. Raises RemoteNotAllowed."""
        if not model.remote:
            return self.upstream
        if not self._consent.allowed:
            raise RemoteNotAllowed("this model answers in a cloud, and no admin has allowed that")
        if self._far.remote is None:
            await self._far.admit()
        return self._far

    def _body(self, request: GenerateRequest, model: ServedModel) -> dict[str, Any]:
        return body(request, model.context_tokens) | {"model": self._their_names.get(request.model, request.model)}

    def _consent_changed(self) -> None:
        """What is under way to a remote server ends when it is no longer allowed."""
        if not self._consent.allowed and any(model.remote for model in self._served.values()):
            self._set(tuple(model for model in self._served.values() if not model.remote))
            self._cutting = asyncio.create_task(self._cut())
        self._probe.soon()

    async def _cut(self) -> None:
        await self._far.close()
        if self.upstream.remote:
            await self.upstream.close()

    def _set(self, served: tuple[ServedModel, ...]) -> None:
        found = {model.name: model for model in served}
        if found != self._served:
            self._served = found
            self._changed()

    async def _describe(self, entry: dict[str, Any]) -> ServedModel | None:
        """None for one that can't chat, or may not be asked; asked again only when its digest changes."""
        theirs = str(entry["name"]).removesuffix(":latest")
        known = next((name for name, other in self._their_names.items() if other == theirs), "")
        same = known in self._served and self._digests.get(theirs) == entry.get("digest")
        if same and (self._served[known].remote or not self.upstream.remote):
            return self._served[known]
        shown = await self.upstream.post("/api/show", {"model": theirs})
        far = bool(entry.get("remote_host") or shown.get("remote_host") or self.upstream.remote)
        capabilities = shown.get("capabilities") or ["completion"]
        unwanted = self._spec.models and theirs not in self._spec.models
        if unwanted or (far and not self._consent.allowed) or "completion" not in capabilities:
            return None
        name = f"{self._spec.server}/{theirs}" if far else theirs
        self._digests[theirs] = str(entry.get("digest"))
        self._their_names = {n: other for n, other in self._their_names.items() if other != theirs} | {name: theirs}
        return ServedModel(
            name=name,
            backend=self.name,
            context_tokens=min(self._context_tokens, _trained_context(shown) or self._context_tokens),
            tools="tools" in capabilities,
            images="vision" in capabilities,
            json_schema=True,
            remote=far,
            upstream=self._spec.server,
        )


class _Answer:
    """Reads the lines of ``/api/chat``."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._end: dict[str, Any] | None = None

    def read(self, line: bytes) -> GenerateChunk | None:
        event = json.loads(line)
        if event.get("error"):
            raise BackendFailed("the upstream failed during its answer", reason="upstream_error")
        message = event.get("message") or {}
        self._calls += message.get("tool_calls") or ()
        if event.get("done"):
            self._end = event
        text, reasoning = message.get("content") or "", message.get("thinking") or ""
        return GenerateChunk(text=text, reasoning=reasoning) if text or reasoning else None

    def last(self) -> GenerateChunk:
        if self._end is None:
            raise BackendFailed("the upstream broke off", reason="broke_off")
        finish = "length" if self._end.get("done_reason") == "length" else "tool_calls" if self._calls else "stop"
        usage = Usage(
            prompt_tokens=int(self._end.get("prompt_eval_count") or 0),
            completion_tokens=int(self._end.get("eval_count") or 0),
        )
        calls = tuple(_openai_call(call, index) for index, call in enumerate(self._calls))
        return GenerateChunk.model_validate({"finish_reason": finish, "usage": usage, "tool_calls": calls})


def body(request: GenerateRequest, context_tokens: int) -> dict[str, Any]:
    """The request in Ollama's own format; it is told to refuse a prompt that is too long, not to cut it."""
    given: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "truncate": False,
        "shift": False,
        "options": _options(request, context_tokens),
    }
    if request.tools.tools:
        given["tools"] = list(request.tools.tools)
    wanted = request.tools.response_format or {}
    if wanted.get("type") == "json_schema":
        given["format"] = (wanted.get("json_schema") or {}).get("schema") or "json"
    elif wanted.get("type") == "json_object":
        given["format"] = "json"
    return given


def _options(request: GenerateRequest, context_tokens: int) -> dict[str, Any]:
    options = request.sampling.model_dump(mode="json", exclude_defaults=True)
    if "max_tokens" in options:
        options["num_predict"] = options.pop("max_tokens")
    return options | {"num_ctx": context_tokens}


def _message(message: ChatMessage) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    given: dict[str, Any] = {"role": role, "content": message.text}
    if isinstance(message.content, tuple):
        images = [_base64(part) for part in message.content if isinstance(part, ImagePart)]
        if images:
            given["images"] = images
    if message.tool_calls:
        given["tool_calls"] = [_ollama_call(call) for call in message.tool_calls]
    return given


def _base64(part: ImagePart) -> str:
    kind, _, data = part.image_url.url.partition(";base64,")
    if not kind.startswith("data:") or not data:
        raise InvalidRequest("an image must be a base64 data URL", errors=[])
    return data


def _ollama_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise InvalidRequest("a tool call's arguments are not JSON", errors=[]) from error
    return {"function": {"name": function.get("name", ""), "arguments": parsed}}


def _openai_call(call: dict[str, Any], index: int) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    return {
        "id": str(call.get("id") or f"call_{index}"),
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }


def _check_context(size: int, context_tokens: int) -> None:
    """An Ollama from before ``truncate`` cuts all the same: what surely does not fit is refused here."""
    if size / MOST_BYTES_PER_TOKEN > context_tokens:
        raise _exceeded(int(size / MOST_BYTES_PER_TOKEN), context_tokens)


def _exceeded(prompt_tokens: int, context_tokens: int) -> ContextExceeded:
    return ContextExceeded(
        "the prompt is longer than the model's context", prompt_tokens=prompt_tokens, context_tokens=context_tokens
    )


def _refused(error: UpstreamRefused, context_tokens: int) -> ServiceError:
    if error.status == 400 and b"context" in error.body:
        return _exceeded(context_tokens + 1, context_tokens)
    return refusal(error)


def _trained_context(shown: dict[str, Any]) -> int | None:
    info = shown.get("model_info") or {}
    return next((int(value) for key, value in info.items() if key.endswith(".context_length")), None)
