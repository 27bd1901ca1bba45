"""Embeds texts with one model: batched across requests, off the event loop.

Vectors of texts are not cached: only what is asked or said twice, word for word and with the same turn before it,
would be found again, and a cache of what people say would have to be forgotten with it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from libs.shared.errors import BackendFailed, InvalidRequest, ModelBroken, Preempted, ServiceError
from libs.shared.telemetry import get_logger
from services.inference import embedder_build, embedder_graph
from services.inference.embed_queue import BACKGROUND, Embedded, EmbedQueue, Portion, Waiting
from services.inference.embedder_graph import WeightsDiffer
from services.inference.embedder_model import Model, Stop, Stopped, give_back_memory
from services.inference.embedder_specs import BUILT_FILE, Purpose, Spec
from services.inference.fit import Needs, check_fit

BUILD_TIMEOUT_S = 300.0
PLENTY_MIB = 1e9

log = get_logger(__name__)


class Embedder:
    """Collects what is asked while a batch runs and embeds it next: no request waits for company."""

    def __init__(self, spec: Spec, *, threads: int, available_mib: Callable[[], float] = lambda: PLENTY_MIB) -> None:
        self.spec = spec
        self._threads = threads
        self._available_mib = available_mib
        self._model: Model | None = None
        self._queue = EmbedQueue()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._task: asyncio.Task[None] | None = None
        self._running: tuple[list[Portion], Stop] | None = None

    @property
    def ready(self) -> bool:
        return self._model is not None and self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Builds the graph when it isn't there, and loads it.

        Raises BackendFailed with a bounded reason, ModelBroken, ModelDoesNotFit.
        """
        loop = asyncio.get_running_loop()
        await prepare(self.spec)
        try:
            if not self.spec.built_in:
                check_fit(self.spec.name, Needs(self.spec.weight_bytes, 0), self._available_mib())
            self._model = await loop.run_in_executor(self._thread, Model, self.spec, self._threads)
        except WeightsDiffer as error:
            raise BackendFailed(str(error), reason="weights_differ") from error
        except ModuleNotFoundError as error:
            raise BackendFailed(f"the embedder needs {error.name} installed", reason="not_installed") from error
        except OSError as error:
            raise ModelBroken(f"{self.spec.name} was taken away while it was loaded") from error
        self._task = loop.create_task(self._run(), name=f"embedder {self.spec.name}")

    @property
    def queued_texts(self) -> int:
        return self._queue.texts

    async def embed(
        self, texts: tuple[str, ...], *, background: bool = False, purpose: Purpose = "passage"
    ) -> tuple[list[bytes], int]:
        """Vectors as little-endian float32, in order, and the tokens they took. Raises Overloaded; Preempted in the
        ``background``."""
        if not self.ready:
            raise BackendFailed("the embedder is not loaded", reason="not_loaded")
        prefix = self.spec.prefix(purpose)
        waiting = self._queue.offer(tuple(prefix + text for text in texts) if prefix else texts, background=background)
        self._wake.set()
        try:
            results = await waiting.done
        finally:
            self._queue.withdraw(waiting)
        return [vector for vector, _ in results], sum(tokens for _, tokens in results)

    def stop_background(self) -> None:
        """What nobody waits for is refused, and leaves the processor within a few milliseconds."""
        for waiting in self._queue.drop_background():
            _fail_one(waiting, _preempted())
        if self._running is None:
            return
        portions, stop = self._running
        if all(portion.waiting.urgency == BACKGROUND for portion in portions):
            stop()

    async def close(self) -> None:
        """Stops after the batch that runs; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for waiting in self._queue.every():
            waiting.done.cancel()
        self._thread.shutdown(wait=False)
        if self._model is not None and not self.spec.built_in:
            self._model = None
            gc.collect(0)
            give_back_memory()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._model is not None
        compute = self._model.compute
        while True:
            await self._wake.wait()
            self._wake.clear()
            while portions := self._queue.take():
                texts = [text for portion in portions for text in portion.texts]
                _, stop = self._running = portions, Stop()
                try:
                    results = await loop.run_in_executor(self._thread, compute, texts, stop)
                except Stopped:
                    for portion in portions:
                        _fail_one(portion.waiting, _preempted())
                except Exception as error:
                    log.error("embedding_failed", exc_info=error)
                    _fail(portions, error)
                else:
                    _hand_out(portions, results)
                finally:
                    self._running = None


async def prepare(spec: Spec) -> None:
    """Sees to it that the graph is there. Raises BackendFailed, ModelBroken; ModuleNotFoundError for the built-in's
    weights."""
    if spec.built_in:
        module, folder, is_built = embedder_graph.__name__, spec.folder, embedder_graph.is_built
    elif spec.graph.name == BUILT_FILE:
        module, folder, is_built = embedder_build.__name__, spec.folder, embedder_build.is_built
    else:
        return
    if not await asyncio.to_thread(is_built, folder):
        await _build_aside(module, str(folder), broken=not spec.built_in)


def check_embeddable(texts: tuple[str, ...]) -> None:
    """Raises InvalidRequest for text that no tokenizer takes (lone surrogates)."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("a text is not valid Unicode", errors=[]) from error


def _hand_out(portions: list[Portion], results: list[Embedded]) -> None:
    start = 0
    for portion in portions:
        waiting = portion.waiting
        waiting.results += results[start : start + len(portion.texts)]
        start += len(portion.texts)
        if len(waiting.results) == len(waiting.texts) and not waiting.done.done():
            waiting.done.set_result(waiting.results)


def _fail(portions: list[Portion], error: Exception) -> None:
    for portion in portions:
        failed = BackendFailed("the embedder failed", reason="inference")
        failed.__cause__ = error
        _fail_one(portion.waiting, failed)


def _fail_one(waiting: Waiting, error: ServiceError) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _preempted() -> Preempted:
    return Preempted("somebody waits for an answer")


async def _build_aside(module: str, folder: str, *, broken: bool) -> None:
    """In a process of its own, since building takes memory that this one would keep."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, folder, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            _, errors = await process.communicate()
    except TimeoutError as error:
        raise BackendFailed("building the embedder took too long", reason="timeout") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return
    last = " ".join(errors.decode(errors="replace").strip().splitlines()[-1:])[:200]
    if broken:
        raise ModelBroken(last)
    raise BackendFailed(f"building the embedder failed: {last}", reason="build")
