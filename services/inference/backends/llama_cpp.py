"""GGUF models by llama.cpp in this process (xllamacpp): chat template, tools, JSON schema and images are its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any

from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, ContextExceeded, ModelBroken, ServiceError, Unsupported
from libs.shared.gguf import read_header
from services.inference import gguf
from services.inference.backends.base import Changed, prompt_bytes, reads_on
from services.inference.backends.openai import Answer, chat_body
from services.inference.backends.slots import Slots
from services.inference.fit import check_fit
from services.inference.models import ModelSpec

BATCH_TOKENS = 128
"""A prompt is read in steps of so many tokens, and a cancellation is heard between two."""


class LlamaCppBackend:
    """One model. llama.cpp's own HTTP side can't be switched off: it gets a socket that nobody else can reach."""

    name = "llama_cpp"

    def __init__(
        self, spec: ModelSpec, *, default_context_tokens: int, threads: int, available_mib: Callable[[], float]
    ) -> None:
        assert spec.path is not None
        self._spec = spec
        self._path = spec.path
        self._wanted_context = spec.context_tokens or default_context_tokens
        self._threads = threads
        self._available_mib = available_mib
        self._server: Any = None
        self._model: ServedModel | None = None
        self.slots = spec.slots(1)
        self._slots = Slots(self.slots)
        self._choosing = Lock()
        self._workers = ThreadPoolExecutor(self.slots, f"llama-{spec.name}")

    async def load(self, changed: Changed) -> None:
        header = await asyncio.to_thread(read_header, self._path)
        shape = gguf.shape(self._path, header, self._wanted_context, self.slots)
        check_fit(self._spec.name, shape.needs, self._available_mib())
        context = shape.context_tokens
        self._server = await asyncio.get_running_loop().run_in_executor(self._workers, self._start, context)
        self._model = ServedModel(
            name=self._spec.name,
            backend=self.name,
            context_tokens=context,
            tools="tools" in header.chat_template,
            images=self._projector() is not None,
            json_schema=True,
            caches_prefix=True,
        )

    def models(self) -> tuple[ServedModel, ...]:
        return (self._model,) if self._model else ()

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        events: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        cancelled = Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._workers, self._complete, self._body(request), reads_on(request), _sender(events), cancelled
        )
        answer = Answer(prompt_bytes(request))
        try:
            while (event := await events.get()) is not None:
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
        server, self._server, self._model = self._server, None, None
        if server is not None:
            await asyncio.to_thread(_release, server)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _complete(
        self,
        body: dict[str, Any],
        session: str | None,
        send: Callable[[str | Exception | None], None],
        cancelled: Event,
    ) -> None:
        """Runs in a worker; the callback's True ends llama.cpp's work at the next token or batch."""

        def take(event: str) -> bool:
            if not cancelled.is_set():
                send(event)
            return cancelled.is_set()

        with self._choosing:
            slot, warm = self._slots.take(session)
        try:
            if not cancelled.is_set():
                placed = {"id_slot": slot, "cache_prompt": warm}
                self._server.handle_chat_completions(json.dumps(body | placed), take)
        except Exception as error:
            send(error)
        finally:
            with self._choosing:
                self._slots.leave(slot, session)
            send(None)

    def _body(self, request: GenerateRequest) -> dict[str, Any]:
        body = chat_body(request) | {"return_progress": True}
        for message in body["messages"]:
            if message["role"] == "developer":
                message["role"] = "system"
        return body

    def _start(self, context: int) -> Any:
        import xllamacpp

        with tempfile.TemporaryDirectory(prefix="mongars-llama-") as folder:
            try:
                return xllamacpp.Server(self._params(xllamacpp, context, Path(folder)))
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


def _release(server: Any) -> None:
    """The last reference: its destructor joins the model's threads."""
    del server
