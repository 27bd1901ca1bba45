"""A loaded embedder on onnxruntime: texts in, vectors out, in batches of bounded work."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from libs.shared.errors import ModelBroken
from services.inference.embed_queue import Embedded
from services.inference.embedder_graph import TOKENIZER_SHA256, verify
from services.inference.embedder_specs import Spec

BATCH_TOKENS = 2048
"""Padding included: more at once is no faster on a processor, and takes memory."""
CHARACTERS_PER_TOKEN = 80
"""Far more than a token can come from; the rest of a long text is cut before the tokenizer sees it."""
_SENTENCE_OUTPUTS = ("sentence_embedding", "embeddings")
_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32"}


class Stopped(Exception):
    """A run was ended before its end."""


class Stop:
    """Ends a run of the model between two steps of its graph, which are short; from any thread."""

    def __init__(self) -> None:
        import onnxruntime

        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = 4

    def __call__(self) -> None:
        self.options.terminate = True

    @property
    def called(self) -> bool:
        return bool(self.options.terminate)


class Model:
    """Belongs to one thread. Making it loads it; raises ModelBroken, WeightsDiffer, ModuleNotFoundError."""

    def __init__(self, spec: Spec, threads: int) -> None:
        self.spec = spec
        self._tokenizer = _load_tokenizer(spec)
        self._session = _load_session(spec, threads)
        self._inputs = {given.name: _dtype(spec, given) for given in self._session.get_inputs()}
        self._output = _chosen_output(spec, self._session.get_outputs())

    def compute(self, texts: list[str], stop: Stop | None = None) -> list[Embedded]:
        """A vector and the number of its tokens for each text. Raises Stopped where ``stop`` was called."""
        most = self.spec.description.max_tokens * CHARACTERS_PER_TOKEN
        encoded = self._tokenizer.encode_batch([text[:most] for text in texts])
        results: dict[int, Embedded] = {}
        for chosen in batches([len(text.ids) for text in encoded]):
            vectors = self._infer([encoded[i].ids for i in chosen], stop)
            results.update({i: (v.tobytes(), len(encoded[i].ids)) for i, v in zip(chosen, vectors, strict=True)})
        return [results[i] for i in range(len(texts))]

    def _infer(self, rows: list[list[int]], stop: Stop | None) -> Any:
        import numpy as np

        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: given[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        try:
            (output,) = self._session.run([self._output], feed, stop and stop.options)
        except Exception:
            if stop is not None and stop.called:
                raise Stopped from None
            raise
        return output.astype("<f4") if self.spec.built_in else self._pooled(output, mask)

    def _pooled(self, output: Any, mask: Any) -> Any:
        """(batch, tokens, dimensions) or (batch, dimensions) → (batch, dimensions)."""
        import numpy as np

        output = output.astype(np.float32, copy=False)
        if output.ndim == 3 and self.spec.description.pooling == "cls":
            output = output[:, 0]
        elif output.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            output = (output * weights).sum(axis=1) / weights.sum(axis=1)
        if self.spec.description.normalise:
            output = output / np.maximum(np.linalg.norm(output, axis=1, keepdims=True), 1e-12)
        if not np.isfinite(output).all():
            raise ModelBroken(f"{self.spec.name} makes vectors that aren't numbers")
        return output.astype("<f4")


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


def _load_tokenizer(spec: Spec) -> Any:
    from tokenizers import Tokenizer

    if spec.built_in:
        verify(spec.tokenizer, TOKENIZER_SHA256)
    try:
        tokenizer = Tokenizer.from_file(str(spec.tokenizer))
    except Exception as error:  # the library raises nothing more telling
        raise ModelBroken(f"{spec.name}'s {spec.tokenizer.name} can't be read") from error
    # The file asks for a fixed padding to 128, which would cost as much for "hello" as for a page.
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.description.max_tokens)
    return tokenizer


def _load_session(spec: Spec, threads: int) -> Any:
    # since 1.29 the library tells its maker about machine and models, unless this is set before it is loaded
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(spec.graph), _options(onnxruntime, threads))
    except Exception as error:  # as many classes as ways to be broken, none of them public
        raise ModelBroken(f"{spec.name}'s {spec.graph.name} can't be loaded") from error
    give_back_memory()
    return session


def _options(onnxruntime: Any, threads: int) -> Any:
    """Small when idle: no arena that keeps the largest batch's memory, no threads that spin for work."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _dtype(spec: Spec, given: Any) -> str:
    if given.name not in ("input_ids", "attention_mask", "token_type_ids") or given.type not in _DTYPES:
        raise ModelBroken(f"{spec.name} asks for {given.name}, which isn't given")
    return _DTYPES[given.type]


def _chosen_output(spec: Spec, outputs: Any) -> str:
    """The text's vector where the model gives it, else the tokens'."""
    names = [output.name for output in outputs]
    if found := next((name for name in _SENTENCE_OUTPUTS if name in names), None):
        return found
    if found := next((output.name for output in outputs if len(output.shape) == 3), None):
        return str(found)
    raise ModelBroken(f"{spec.name} gives neither a text's vector nor its tokens'")


def give_back_memory() -> None:
    """Reading the graph leaves 40 MB of freed memory that glibc would keep for itself."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
