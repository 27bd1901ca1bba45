"""Embeds texts with all-MiniLM-L6-v2 on onnxruntime: verified, batched across requests, off the event loop.

Vectors of texts are not cached: only what is asked or said twice, word for word and with the same turn before it,
would be found again, and a cache of what people say would have to be forgotten with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from libs.shared.errors import BackendFailed, InvalidRequest
from libs.shared.telemetry import get_logger
from services.inference.embed_queue import MAX_TOKENS, Embedded, EmbedQueue, Portion
from services.inference.embedder_graph import (
    DIMENSIONS,
    EMBEDDER_ID,
    GRAPH_FILE,
    TOKENIZER_SHA256,
    WeightsDiffer,
    is_built,
    verify,
    weights_folder,
)

BATCH_TOKENS = 2048
"""Padding included: more at once is no faster on a processor, and takes memory."""
BUILD_TIMEOUT_S = 120.0
MAX_CHARACTERS = 20_000
"""Far more than 256 tokens can come from; the rest is cut before the tokenizer sees it."""


log = get_logger(__name__)


class Embedder:
    """Collects what is asked while a batch runs and embeds it next: no request waits for company."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._session: Any = None
        self._tokenizer: Any = None
        self._queue = EmbedQueue()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._session is not None and self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Builds the graph when it isn't there, and loads it. Raises BackendFailed with a bounded reason."""
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._thread, is_built, self._folder):
            await _build_aside(self._folder)
        try:
            self._session, self._tokenizer = await loop.run_in_executor(self._thread, self._load)
        except WeightsDiffer as error:
            raise BackendFailed(str(error), reason="weights_differ") from error
        except ModuleNotFoundError as error:
            raise BackendFailed(f"the embedder needs {error.name} installed", reason="not_installed") from error
        self._task = loop.create_task(self._run(), name="embedder")

    @property
    def queued_texts(self) -> int:
        return self._queue.texts

    async def embed(self, texts: tuple[str, ...], *, background: bool = False) -> tuple[list[bytes], int]:
        """Unit vectors as little-endian float32, in order, and the tokens they took. Raises Overloaded."""
        if not self.ready:
            raise BackendFailed("the embedder is not loaded", reason="not_loaded")
        waiting = self._queue.offer(texts, background=background)
        self._wake.set()
        try:
            results = await waiting.done
        finally:
            self._queue.withdraw(waiting)
        return [vector for vector, _ in results], sum(tokens for _, tokens in results)

    async def close(self) -> None:
        """Stops after the batch that runs; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for waiting in self._queue.every():
            waiting.done.cancel()
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while portions := self._queue.take():
                texts = [text for portion in portions for text in portion.texts]
                try:
                    results = await loop.run_in_executor(self._thread, self._compute, texts)
                except Exception as error:
                    log.error("embedding_failed", exc_info=error)
                    _fail(portions, error)
                else:
                    _hand_out(portions, results)

    def _compute(self, texts: list[str]) -> list[Embedded]:
        encoded = self._tokenizer.encode_batch([text[:MAX_CHARACTERS] for text in texts])
        results: dict[int, Embedded] = {}
        for chosen in batches([len(text.ids) for text in encoded]):
            vectors = self._infer([encoded[i].ids for i in chosen])
            results.update({i: (v.tobytes(), len(encoded[i].ids)) for i, v in zip(chosen, vectors, strict=True)})
        return [results[i] for i in range(len(texts))]

    def _infer(self, rows: list[list[int]]) -> Any:
        import numpy as np

        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        return vectors.astype("<f4")

    def _load(self) -> tuple[Any, Any]:
        import onnxruntime
        from tokenizers import Tokenizer

        vocabulary = weights_folder() / "tokenizer.json"
        verify(vocabulary, TOKENIZER_SHA256)
        tokenizer = Tokenizer.from_file(str(vocabulary))
        # The file asks for a fixed padding to 128, which would cost as much for "hello" as for a page.
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        session = onnxruntime.InferenceSession(str(self._folder / GRAPH_FILE), self._options(onnxruntime))
        _give_back_memory()
        return session, tokenizer

    def _options(self, onnxruntime: Any) -> Any:
        """Small when idle: no arena that keeps the largest batch's memory, no threads that spin for work."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def batches(lengths: list[int]) -> Iterator[list[int]]:
    """Indices by length, so that short texts aren't padded to a long one's size, in batches of bounded work."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


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
        if not portion.waiting.done.done():
            failed = BackendFailed("the embedder failed", reason="inference")
            failed.__cause__ = error
            portion.waiting.done.set_exception(failed)


def _give_back_memory() -> None:
    """Reading the graph leaves 40 MB of freed memory that glibc would keep for itself."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def _build_aside(folder: Path) -> None:
    """In a process of its own, since building takes memory that this one would keep."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.inference.embedder_graph", str(folder), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            _, errors = await process.communicate()
    except TimeoutError as error:
        raise BackendFailed("building the embedder took too long", reason="timeout") from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise BackendFailed(f"building the embedder failed: {' '.join(last)[:200]}", reason="build")


__all__ = ["DIMENSIONS", "EMBEDDER_ID", "MAX_TOKENS", "Embedder", "check_embeddable"]
