"""The embedder against a reference in double precision."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from libs.shared.errors import BackendFailed, InvalidRequest, Overloaded, Preempted
from services.inference import embed_queue, embedder_model
from services.inference import embedder_graph as graph
from services.inference.embedder import Embedder, check_embeddable
from services.inference.embedder_model import Model, Stop, Stopped
from services.inference.embedder_specs import built_in

LIMIT_S = 60
Array = npt.NDArray[np.float64]
TEXTS = (
    "hello",
    "The train to the mountains leaves at nine.",
    "L'année passée, nous avons mangé des crêpes à la fin de semaine.",
    "été 🌙 naïve 東京",
    "a long story about bees and roses " * 60,
    "",
)


@pytest.fixture(scope="session")
def graph_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    graph.build(folder)
    return folder


@pytest.fixture
async def embedder(graph_folder: Path) -> AsyncIterator[Embedder]:
    started = Embedder(built_in(graph_folder), threads=1)
    await started.start()
    yield started
    await started.close()


def mean_pool(hidden: Array) -> Array:
    mean: Array = hidden.mean(axis=0)
    return mean


@cache
def weights() -> dict[str, Array]:
    stored: dict[str, Array] = load_file(graph.weights_folder() / "model.safetensors")
    return {name: value.astype(np.float64) for name, value in stored.items() if "position_ids" not in name}


def reference(text: str, pool: Callable[[Array], Array] = mean_pool) -> Array:
    """The model as published, one text, in float64 and without a line of the product's code."""
    w = weights()
    tokenizer = Tokenizer.from_file(str(graph.weights_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    ids = tokenizer.encode(text).ids
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
    for number in range(6):
        x = layer(x, w, f"encoder.layer.{number}")
    pooled = pool(x)
    unit: Array = pooled / np.linalg.norm(pooled)
    return unit


def layer(x: Array, w: dict[str, Any], name: str) -> Array:
    parts = (linear(x, w, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
    q, k, v = (part.reshape(len(x), 12, 32) for part in parts)
    scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(32)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    attended = np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), 384)
    x = norm(x + linear(attended, w, f"{name}.attention.output.dense"), w, f"{name}.attention.output.LayerNorm")
    wide = linear(x, w, f"{name}.intermediate.dense")
    wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
    return norm(x + linear(wide, w, f"{name}.output.dense"), w, f"{name}.output.LayerNorm")


def linear(x: Array, w: dict[str, Any], name: str) -> Array:
    result: Array = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    return result


def norm(x: Array, w: dict[str, Any], name: str) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    shifted: Array = scaled * w[f"{name}.weight"] + w[f"{name}.bias"]
    return shifted


def vector(data: bytes) -> Array:
    return np.frombuffer(data, dtype="<f4").astype(np.float64)


def check_equality(vectors: list[bytes], references: list[Array]) -> None:
    for data, expected in zip(vectors, references, strict=True):
        assert vector(data) @ expected >= 0.9999


async def test_vectors_equal_the_published_model_s(embedder: Embedder) -> None:
    vectors, tokens = await embedder.embed(TEXTS)
    check_equality(vectors, [reference(text) for text in TEXTS])
    assert tokens > 256


async def test_the_check_of_equality_notices_another_pooling(embedder: Embedder) -> None:
    vectors, _ = await embedder.embed(TEXTS[:2])
    with pytest.raises(AssertionError):
        check_equality(vectors, [reference(text, pool=lambda hidden: hidden[0]) for text in TEXTS[:2]])


async def test_vectors_have_unit_length(embedder: Embedder) -> None:
    vectors, _ = await embedder.embed(TEXTS)
    assert [np.linalg.norm(vector(data)) for data in vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-5)


async def test_many_requests_at_once_get_each_its_own(embedder: Embedder) -> None:
    alone = {text: (await embedder.embed((text,)))[0][0] for text in TEXTS}
    together = await asyncio.gather(*(embedder.embed((text, TEXTS[0])) for text in TEXTS * 3))
    for text, (vectors, _) in zip(TEXTS * 3, together, strict=True):
        assert vector(vectors[0]) @ vector(alone[text]) >= 0.99999
        assert vector(vectors[1]) @ vector(alone[TEXTS[0]]) >= 0.99999


LONG = tuple(f"a long story about bee {number} and roses " * 60 for number in range(4))
"""Takes a quarter of a second at least."""


@pytest.fixture
def one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_model, "BATCH_TOKENS", 1 << 16)


def check_a_run_ends_when_it_is_stopped(folder: Path, stop: Stop | None) -> None:
    """It is stopped once it has begun; it is one run of half a second at least."""
    model, called = Model(built_in(folder), threads=1), Stop() if stop is None else stop
    run = model._session.run

    class Session:
        def run(self, *given: Any) -> Any:
            Thread(target=called).start()
            return run(*given)

    model._session = Session()
    with pytest.raises(Stopped):
        model.compute(list(LONG * 2), called)


@pytest.mark.usefixtures("one_run")
def test_a_run_ends_when_it_is_stopped(graph_folder: Path) -> None:
    check_a_run_ends_when_it_is_stopped(graph_folder, None)


@pytest.mark.usefixtures("one_run")
def test_a_run_that_goes_on_would_be_noticed(graph_folder: Path) -> None:
    class Deaf(Stop):
        def __call__(self) -> None:
            """Stops nothing."""

    with pytest.raises(pytest.fail.Exception):
        check_a_run_ends_when_it_is_stopped(graph_folder, Deaf())


async def under_way(embedder: Embedder, *, background: bool) -> asyncio.Task[tuple[list[bytes], int]]:
    asked = asyncio.create_task(embedder.embed(LONG, background=background))
    async with asyncio.timeout(LIMIT_S):
        while embedder._running is None:  # noqa: ASYNC110 - yields to the embedder
            await asyncio.sleep(0)
    return asked


async def test_what_nobody_waits_for_is_stopped_and_can_be_asked_for_again(embedder: Embedder) -> None:
    asked = await under_way(embedder, background=True)
    waiting = asyncio.create_task(embedder.embed(TEXTS, background=True))
    await asyncio.sleep(0)
    embedder.stop_background()
    async with asyncio.timeout(LIMIT_S):
        for stopped in (asked, waiting):
            with pytest.raises(Preempted):
                await stopped
        assert embedder.queued_texts == 0
        vectors, _ = await embedder.embed(TEXTS[:1], background=True)
    check_equality(vectors, [reference(TEXTS[0])])


async def test_what_somebody_waits_for_is_not_stopped(embedder: Embedder) -> None:
    asked = await under_way(embedder, background=False)
    embedder.stop_background()
    async with asyncio.timeout(LIMIT_S):
        vectors, _ = await asked
    assert len(vectors) == len(LONG)


async def test_one_large_request_is_answered_in_order(embedder: Embedder) -> None:
    texts = tuple(f"sentence number {i}" for i in range(100))
    vectors, _ = await embedder.embed(texts)
    (alone,), _ = await embedder.embed((texts[57],))
    assert vector(vectors[57]) @ vector(alone) >= 0.99999


async def test_too_many_waiting_texts_are_refused(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_queue, "QUEUE_TEXTS", 64)
    asked = [asyncio.create_task(embedder.embed(("x",) * 8)) for _ in range(12)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    refused = [result for result in done if isinstance(result, Overloaded)]
    assert 1 <= len(refused) <= 4
    assert embedder.queued_texts == 0


async def test_one_that_gives_up_waiting_costs_nothing(embedder: Embedder) -> None:
    first = asyncio.create_task(embedder.embed(("word " * 200,) * 4))
    second = asyncio.create_task(embedder.embed(("x",)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    assert len((await first)[0]) == 4
    assert embedder.queued_texts == 0


def test_text_that_no_tokenizer_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        check_embeddable(("fine", "\ud800"))


async def test_a_spoilt_graph_is_built_again(graph_folder: Path, tmp_path: Path) -> None:
    for name in (graph.GRAPH_FILE, graph.MANIFEST_FILE):
        (tmp_path / name).write_bytes((graph_folder / name).read_bytes())
    assert graph.is_built(tmp_path)
    data = bytearray((tmp_path / graph.GRAPH_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / graph.GRAPH_FILE).write_bytes(data)
    assert not graph.is_built(tmp_path)
    again = Embedder(built_in(tmp_path), threads=1)
    await again.start()
    check_equality((await again.embed(TEXTS[:1]))[0], [reference(TEXTS[0])])
    await again.close()


def test_weights_other_than_the_pinned_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(graph.WeightsDiffer):
        graph.verify(tmp_path / "model.safetensors", graph.WEIGHTS_SHA256)


async def test_a_tokenizer_other_than_the_pinned_is_refused(
    graph_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_model, "TOKENIZER_SHA256", "0" * 64)
    changed = Embedder(built_in(graph_folder), threads=1)
    with pytest.raises(BackendFailed) as refused:
        await changed.start()
    assert refused.value.data["reason"] == "weights_differ"
    await changed.close()
