"""GGUF models by llama.cpp in this process (xllamacpp): chat template, tools, JSON schema and images are its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple

from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel, with_adapter
from libs.shared.errors import AdapterMismatched, BackendFailed, ContextExceeded, ServiceError, Unsupported
from libs.shared.gguf import read_header
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import Adapter
from services.inference.backends.base import Changed, prompt_bytes, reads_on
from services.inference.backends.llama_loading import Loaded, Loading, projector
from services.inference.backends.openai import Answer, chat_body
from services.inference.models import ModelSpec
from services.inference.unfinished_loads import UnfinishedLoads


class LlamaCppBackend:
    """One model, answering as many requests at once as it has slots."""

    name = "llama_cpp"

    def __init__(
        self,
        spec: ModelSpec,
        *,
        default_context_tokens: int,
        threads: int,
        available_mib: Callable[[], float],
        folder: Path,
        loads: Path,
    ) -> None:
        """``folder`` is that of the models, where adapters may lie, and ``loads`` that of marks of their loading."""
        self._spec = spec
        self._wanted_context = spec.context_tokens or default_context_tokens
        self._loaded: Loaded | None = None
        self._model: ServedModel | None = None
        self._changed: Changed = lambda: None
        self.slots = spec.slots(1)
        unfinished = UnfinishedLoads(loads, spec.name)
        self._shelf = AdapterShelf(folder, spec, self._check_adapter, unfinished)
        self._loading = Loading(spec, self._shelf, slots=self.slots, threads=threads, available_mib=available_mib)
        self._choosing = Lock()
        self._closed = False
        self._workers = ThreadPoolExecutor(self.slots, f"llama-{spec.name}")

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        header, shape = await asyncio.to_thread(self._loading.measure, self._wanted_context)
        self._architecture = header.metadata["general.architecture"]
        await self._shelf.look()
        await asyncio.get_running_loop().run_in_executor(self._workers, self._begin)
        self._model = ServedModel(
            name=self._spec.name,
            backend=self.name,
            context_tokens=shape.context_tokens,
            tools="tools" in header.chat_template,
            images=projector(self._spec) is not None,
            json_schema=True,
            caches_prefix=True,
            adapters=self._offered(),
            restricted=self._shelf.restricted,
        )
        self._shelf.begin(self._take_adapters)

    def models(self) -> tuple[ServedModel, ...]:
        return (self._model,) if self._model else ()

    def troubles(self) -> tuple[str, ...]:
        return self._shelf.troubles()

    def loaded_adapters(self) -> tuple[str, ...]:
        return tuple(with_adapter(self._spec.name, name) for name in self._offered())

    async def prepare(self, request: GenerateRequest) -> None:
        """They are all in memory: llama.cpp takes them as it loads the model."""
        self._shelf.get(request.adapter)

    async def _take_adapters(self) -> None:
        """Some came or went. For one that came the model is loaded once more, beside the one that answers, which ends
        with its last answer."""
        if self._model is None or self._loaded is None:
            return
        await asyncio.to_thread(self._renew, self._loaded)
        if self._model is not None:
            self._model = self._model.model_copy(
                update={"adapters": self._offered(), "restricted": self._shelf.restricted}
            )
            self._changed()

    def _offered(self) -> tuple[str, ...]:
        loaded = self._loaded.adapters if self._loaded is not None else ()
        return tuple(name for name in self._shelf.names if self._shelf.adapters[name] in loaded)

    def _check_adapter(self, adapter: Adapter) -> None:
        if read_header(adapter.path).metadata["general.architecture"] != self._architecture:
            raise AdapterMismatched(f"{adapter.name} was made for a model of another kind")

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        adapter = self._shelf.get(request.adapter)
        events: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        cancelled = Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._workers, self._complete, self._body(request), _reading(request, adapter), _sender(events), cancelled
        )
        answer = Answer(prompt_bytes(request))
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, ServiceError):
                    raise event
                if isinstance(event, Exception):
                    raise BackendFailed("llama.cpp failed", reason="inference") from event
                if chunk := _read(answer, event):
                    yield chunk
            yield answer.last()
        finally:
            cancelled.set()
            work.cancel()

    async def close(self) -> None:
        """Ends the model's threads, which takes as long as the batch that runs."""
        self._model = None
        self._closed = True
        await self._shelf.close()
        await asyncio.to_thread(self._swap, None)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _complete(
        self,
        body: dict[str, Any],
        reading: _Reading,
        send: Callable[[str | Exception | None], None],
        cancelled: Event,
    ) -> None:
        """Runs in a worker; the callback's True ends llama.cpp's work at the next token or batch."""

        def take(event: str) -> bool:
            if not cancelled.is_set():
                send(event)
            return cancelled.is_set()

        loaded = self._loaded
        assert loaded is not None
        with self._choosing:
            slot, warm = loaded.slots.take(reading.session)
        try:
            if not cancelled.is_set():
                placed = {"id_slot": slot, "cache_prompt": warm, **loaded.chosen(reading.adapter)}
                loaded.server.handle_chat_completions(json.dumps(body | placed), take)
        except Exception as error:
            send(error)
        finally:
            with self._choosing:
                loaded.slots.leave(slot, reading.session)
            send(None)

    def _body(self, request: GenerateRequest) -> dict[str, Any]:
        body = chat_body(request) | {"return_progress": True}
        for message in body["messages"]:
            if message["role"] == "developer":
                message["role"] = "system"
        return body

    def _begin(self) -> None:
        self._swap(self._loading.begin())

    def _renew(self, before: Loaded) -> None:
        if (loaded := self._loading.renew(before)) is not None:
            self._swap(loaded)

    def _swap(self, loaded: Loaded | None) -> None:
        """The one before it ends with its last request, in that one's thread, or here. What is loaded only after the
        backend was closed ends at once."""
        with self._choosing:
            before, self._loaded = self._loaded, None if self._closed else loaded
        del before


class _Reading(NamedTuple):
    """With which adapter a prompt is read, and who may find again what was read; None: nobody."""

    adapter: Adapter | None
    session: str | None


def _reading(request: GenerateRequest, adapter: Adapter | None) -> _Reading:
    session = reads_on(request)
    if session is None or adapter is None:
        return _Reading(adapter, session)
    return _Reading(adapter, f"{session} {adapter.name} {adapter.version}")


def _sender(queue: asyncio.Queue[str | Exception | None]) -> Callable[[str | Exception | None], None]:
    """Hands over from a worker thread; the loop may be gone when the process stops."""
    loop = asyncio.get_running_loop()

    def send(event: str | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, event)

    return send


def _read(answer: Answer, event: str) -> GenerateChunk | None:
    told = json.loads(event)
    if error := told.get("error"):
        raise _refusal(error)
    return answer.event(told)


def _refusal(error: dict[str, Any]) -> ServiceError:
    if error.get("type") == "exceed_context_size_error":
        return ContextExceeded(
            "the prompt is longer than the model's context",
            prompt_tokens=int(error.get("n_prompt_tokens", 0)),
            context_tokens=int(error.get("n_ctx", 0)),
        )
    if error.get("code") == 400:
        return Unsupported("llama.cpp refuses the request for this model", feature="request")
    return BackendFailed("llama.cpp failed", reason="inference")
