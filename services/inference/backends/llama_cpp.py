"""GGUF models by llama.cpp in this process (xllamacpp): chat template, tools, JSON schema and images are its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple

from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel, with_adapter
from libs.shared.errors import (
    AdapterMismatched,
    AdapterNotFound,
    BackendFailed,
    ContextExceeded,
    ModelBroken,
    ModelDoesNotFit,
    ServiceError,
    Unsupported,
)
from libs.shared.gguf import read_header
from services.inference import gguf
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import Adapter
from services.inference.backends.base import Changed, prompt_bytes, reads_on
from services.inference.backends.openai import Answer, chat_body
from services.inference.backends.slots import Slots
from services.inference.fit import Needs, check_fit
from services.inference.models import ModelSpec

BATCH_TOKENS = 128
"""A prompt is read in steps of so many tokens, and a cancellation is heard between two."""


class LlamaCppBackend:
    """One model. llama.cpp's own HTTP side can't be switched off: it gets a socket that nobody else can reach."""

    name = "llama_cpp"

    def __init__(
        self,
        spec: ModelSpec,
        *,
        default_context_tokens: int,
        threads: int,
        available_mib: Callable[[], float],
        folder: Path | None = None,
    ) -> None:
        """``folder`` is that of the models, where adapters may lie."""
        assert spec.path is not None
        self._spec = spec
        self._path = spec.path
        self._wanted_context = spec.context_tokens or default_context_tokens
        self._threads = threads
        self._available_mib = available_mib
        self._loaded: _Loaded | None = None
        self._model: ServedModel | None = None
        self._changed: Changed = lambda: None
        self._shelf = AdapterShelf(folder or self._path.parent, spec, self._check_adapter)
        self.slots = spec.slots(1)
        self._choosing = Lock()
        self._closed = False
        self._workers = ThreadPoolExecutor(self.slots, f"llama-{spec.name}")

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        header = await asyncio.to_thread(read_header, self._path)
        shape = gguf.shape(self._path, header, self._wanted_context, self.slots)
        check_fit(self._spec.name, shape.needs, self._available_mib())
        self._architecture, self._shape = header.metadata["general.architecture"], shape
        context = shape.context_tokens
        await self._shelf.look()
        await asyncio.get_running_loop().run_in_executor(self._workers, self._begin)
        self._model = ServedModel(
            name=self._spec.name,
            backend=self.name,
            context_tokens=context,
            tools="tools" in header.chat_template,
            images=self._projector() is not None,
            json_schema=True,
            caches_prefix=True,
            adapters=self._offered(),
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
            self._model = self._model.model_copy(update={"adapters": self._offered()})
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
        """Loads the model with every adapter that it can take; those that it can't are refused, and it goes on without
        them. Raises ModelBroken."""
        wanted = self._wanted()
        if wanted and (full := self._find_no_room(wanted)) is not None:
            self._refuse(wanted, full)
            wanted = ()
        try:
            server = self._start(wanted)
        except ModelBroken:
            if not wanted:
                raise
            wanted = tuple(adapter for adapter in wanted if self._takes(adapter))
            server = self._start(wanted)
        self._swap(_Loaded(server, wanted, Slots(self.slots)))

    def _renew(self, before: _Loaded) -> None:
        """Loads the model once more for adapters that came. Where that can't be done they are refused, and the one that
        answers goes on with those that it has."""
        wanted = self._wanted()
        came = tuple(adapter for adapter in wanted if adapter not in before.adapters)
        if not came:
            return
        if (full := self._find_no_room(wanted)) is not None:
            self._refuse(came, full)
            return
        server = self._try(wanted)
        if server is None:
            came = self._sift(came)
            wanted = tuple(adapter for adapter in wanted if adapter in before.adapters or adapter in came)
            server = self._try(wanted) if came else None
        if server is None:
            self._refuse(came, ModelDoesNotFit(f"{self._spec.name} can't be loaded a second time beside itself"))
            return
        self._swap(_Loaded(server, wanted, Slots(self.slots)))

    def _sift(self, came: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
        """Those that the model takes, each tried alone; all, where it isn't their fault that they can't be loaded."""
        if self._try(()) is None:
            return came
        return tuple(adapter for adapter in came if self._takes(adapter))

    def _wanted(self) -> tuple[Adapter, ...]:
        found = self._shelf.adapters
        return tuple(found[name] for name in sorted(found))

    def _refuse(self, adapters: tuple[Adapter, ...], error: ServiceError) -> None:
        for adapter in adapters:
            self._shelf.refuse(adapter, error)

    def _find_no_room(self, adapters: tuple[Adapter, ...]) -> ModelDoesNotFit | None:
        """Beside what is in memory already; weights are mapped from their file, and shared."""
        weights = sum(adapter.size for adapter in adapters)
        if self._loaded is None:
            weights += self._shape.needs.weights
        try:
            check_fit(self._spec.name, Needs(weights, self._shape.needs.cache), self._available_mib())
        except ModelDoesNotFit as error:
            return error
        return None

    def _takes(self, adapter: Adapter) -> bool:
        """Whether the model loads with this one, and makes a token."""
        if self._try((adapter,)) is None:
            self._shelf.refuse(adapter, AdapterMismatched(f"llama.cpp can't load {adapter.name} with this model"))
            return False
        return True

    def _try(self, adapters: tuple[Adapter, ...]) -> Any:
        """The model with these, after its first token: one that is ended before its first request may never end. None
        if it can't be loaded."""
        trial = {"prompt": "a", "n_predict": 1, "lora": [{"id": 0, "scale": 1.0}] if adapters else []}
        try:
            server = self._start(adapters)
            server.handle_completions(json.dumps(trial), lambda event: False)
        except (ModelBroken, RuntimeError):
            return None
        return server

    def _swap(self, loaded: _Loaded | None) -> None:
        """The one before it ends with its last request, in that one's thread, or here. What is loaded only after the
        backend was closed ends at once."""
        with self._choosing:
            before, self._loaded = self._loaded, None if self._closed else loaded
        del before

    def _start(self, adapters: tuple[Adapter, ...]) -> Any:
        import xllamacpp

        with tempfile.TemporaryDirectory(prefix="mongars-llama-") as folder:
            params = self._params(xllamacpp, self._shape.context_tokens, Path(folder))
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(one.path), 0.0) for one in adapters]
            params.lora_init_without_apply = True
            try:
                return xllamacpp.Server(params)
            except RuntimeError as error:
                raise ModelBroken(f"llama.cpp can't load {self._path.name}") from error

    def _params(self, xllamacpp: Any, context: int, folder: Path) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = context * self.slots
        params.n_parallel = self.slots
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.n_gpu_layers = int(self._spec.options.get("gpu_layers", -1))
        if projector := self._projector():
            params.mmproj.path = str(projector)
        params.hostnames = [str(folder / "llama.sock")]
        params.api_keys = [secrets.token_hex(32)]
        params.n_threads_http = 1
        params.ui = params.warmup = params.fit_params = params.endpoint_slots = False
        params.cache_ram_mib = 0
        params.verbosity = -1
        return params

    def _projector(self) -> Path | None:
        """The half of a vision model that reads images."""
        stated = self._spec.options.get("mmproj")
        return (self._path.parent / str(stated)).resolve() if stated else None


@dataclass(frozen=True)
class _Loaded:
    """A model in memory with its adapters, each known there by its place, and its slots."""

    server: Any
    adapters: tuple[Adapter, ...]
    slots: Slots

    def chosen(self, wanted: Adapter | None) -> dict[str, Any]:
        """For a request: each adapter's share, since what isn't said stays as it was for the one before.

        Raises AdapterNotFound.
        """
        if wanted is not None and wanted not in self.adapters:
            raise AdapterNotFound(f"{wanted.name} is not in memory")
        if not self.adapters:
            return {}
        return {"lora": [{"id": at, "scale": float(one == wanted)} for at, one in enumerate(self.adapters)]}


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
