"""Embedders beside the built-in one: from safetensors or ONNX, found while the node runs, unloaded when idle."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from libs.shared.contracts.inference import EMBED, EmbedRequest
from libs.shared.errors import ModelBroken, ModelDoesNotFit, ModelNotFound
from services.inference import embedder_build, embedder_graph, embedder_trial, embedders
from services.inference.embedder import Embedder, prepare
from services.inference.embedder_model import Model
from services.inference.embedder_specs import Purpose, Spec, built_in, read_spec
from services.inference.embedders import Embedders
from tests.integration.inference.conftest import running
from tests.support import embedders as made
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker

Array = npt.NDArray[np.float64]
TEXTS = ("my sister has three bees", "le train part", "a long story about bees and roses " * 20, "")
LIMIT_S = 60


def describe(folder: Path, **description: object) -> Path:
    (folder / "embedder.json").write_text(json.dumps(description))
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return made.make(tmp_path / "embedders" / "tiny")


def norm(x: Array, w: dict[str, Any], name: str) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])


def linear(x: Array, w: dict[str, Any], name: str) -> Array:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])


def reference(folder: Path, text: str, pool: Callable[[Array], Array], *, first: int = 0) -> Array:
    """The encoder as the paper has it, one text, in float64 and without a line of the product's code."""
    w = {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(made.POSITIONS - first)
    ids = tokenizer.encode(text).ids
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + w["embeddings.position_embeddings.weight"][first : first + len(ids)], w, "embeddings.LayerNorm")
    for name in (f"encoder.layer.{number}" for number in range(made.LAYERS)):
        parts = (linear(x, w, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        q, k, v = (part.reshape(len(x), made.HEADS, -1) for part in parts)
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(made.DIMENSIONS // made.HEADS)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended = np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1)
        output = f"{name}.attention.output"
        x = norm(x + linear(attended, w, f"{output}.dense"), w, f"{output}.LayerNorm")
        wide = linear(x, w, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + linear(wide, w, f"{name}.output.dense"), w, f"{name}.output.LayerNorm")
    pooled = pool(x)
    return np.asarray(pooled / np.linalg.norm(pooled))


def mean(hidden: Array) -> Array:
    return np.asarray(hidden.mean(axis=0))


def first_token(hidden: Array) -> Array:
    return np.asarray(hidden[0])


async def vectors_of(folder: Path, *texts: str) -> list[Array]:
    spec = read_spec(folder)
    await prepare(spec)
    computed = Model(spec, threads=1).compute(list(texts))
    return [np.frombuffer(vector, "<f4").astype(np.float64) for vector, _ in computed]


async def check_equality(folder: Path, pool: Callable[[Array], Array], *, first: int = 0) -> None:
    for vector, text in zip(await vectors_of(folder, *TEXTS), TEXTS, strict=True):
        assert vector @ reference(folder, text, pool, first=first) >= 0.9999


@pytest.mark.parametrize(("pooling", "pool"), [("mean", mean), ("cls", first_token)])
async def test_vectors_equal_the_weights_by_either_pooling(
    tiny: Path, pooling: str, pool: Callable[[Array], Array]
) -> None:
    await check_equality(describe(tiny, pooling=pooling), pool)


async def test_the_check_of_equality_notices_another_pooling(tiny: Path) -> None:
    with pytest.raises(AssertionError):
        await check_equality(describe(tiny, pooling="cls"), mean)


async def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path: Path) -> None:
    await check_equality(made.make(tmp_path / "r", family="xlm-roberta"), mean, first=1)


async def test_the_check_of_equality_notices_other_positions(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "r", family="xlm-roberta")
    with pytest.raises(AssertionError):
        await check_equality(folder, mean, first=0)


async def test_weights_behind_a_wrapper_s_name_are_the_same(tmp_path: Path, tiny: Path) -> None:
    wrapped = made.make(tmp_path / "wrapped", prefix="bert.")
    for one, other in zip(await vectors_of(tiny, *TEXTS), await vectors_of(wrapped, *TEXTS), strict=True):
        assert one @ other >= 0.99999


def as_onnx(folder: Path, source: Path, *, whole_sentences: bool) -> Path:
    """The same model as somebody else would have exported it."""
    folder.mkdir(parents=True)
    shutil.copy(source / "tokenizer.json", folder)
    shape = embedder_build.read_shape(source)
    assert isinstance(shape, embedder_graph.Shape)
    weights = load_file(source / "model.safetensors")
    export = embedder_graph.sentence_graph if whole_sentences else embedder_graph.token_graph
    (folder / "model.onnx").write_bytes(export(weights, shape))
    return describe(folder, dimensions=made.DIMENSIONS, max_tokens=made.POSITIONS)


@pytest.mark.parametrize("whole_sentences", [True, False])
async def test_a_graph_that_was_brought_gives_the_same_vectors(
    tmp_path: Path, tiny: Path, whole_sentences: bool
) -> None:
    brought = as_onnx(tmp_path / "brought", tiny, whole_sentences=whole_sentences)
    for vector, text in zip(await vectors_of(brought, *TEXTS), TEXTS, strict=True):
        assert vector @ reference(tiny, text, mean) >= 0.9999


def test_the_version_is_of_what_makes_the_vectors(tmp_path: Path, tiny: Path) -> None:
    first = read_spec(tiny).version
    assert read_spec(made.make(tmp_path / "same")).version == first
    assert read_spec(made.make(tmp_path / "other", seed=1)).version != first
    assert read_spec(describe(tiny, query_prefix="query: ")).version != first
    assert read_spec(describe(tiny, dimensions=made.DIMENSIONS)).version == first
    assert read_spec(describe(tiny, version="7")).id == "tiny@7"


def test_changed_weights_are_noticed_although_the_digests_are_kept(tiny: Path) -> None:
    first = read_spec(tiny).version
    made.make(tiny, seed=2)
    assert read_spec(tiny).version != first


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda f: (f / "model.safetensors").unlink(), "neither"),
        (lambda f: (f / "embedder.json").write_text("{"), "can't be read"),
        (lambda f: (f / "embedder.json").write_text('{"pooling": "max"}'), "can't be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no weights"), "model.safetensors"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "t5", "hidden_size": 32}'), "t5"),
    ],
)
async def test_a_broken_one_says_what_is_wrong(tiny: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(tiny)
    with pytest.raises(ModelBroken) as refused:
        await vectors_of(tiny, "x")
    assert words in refused.value.detail


async def test_one_that_does_not_fit_is_refused_before_it_is_loaded(tiny: Path) -> None:
    spec = read_spec(tiny)
    embedder = Embedder(spec, threads=1, available_mib=lambda: 100.0)
    with pytest.raises(ModelDoesNotFit):
        await embedder.start()
    await embedder.close()


async def check_prefixes(tiny: Path) -> None:
    embedder = Embedder(read_spec(describe(tiny, query_prefix="query ", passage_prefix="text ")), threads=1)
    await embedder.start()
    try:
        asked: tuple[tuple[str, Purpose], ...] = (("bees", "query"), ("bees", "passage"), ("query bees", "passage"))
        question, said, plain = [(await embedder.embed((text,), purpose=purpose))[0][0] for text, purpose in asked]
    finally:
        await embedder.close()
    alike = np.frombuffer(question, "<f4") @ reference(tiny, "query bees", mean)
    assert alike >= 0.9999
    assert np.frombuffer(said, "<f4") @ reference(tiny, "text bees", mean) >= 0.9999
    assert np.frombuffer(plain, "<f4") @ reference(tiny, "text query bees", mean) >= 0.9999


async def test_questions_and_passages_get_each_their_words(tiny: Path) -> None:
    await check_prefixes(tiny)


async def test_leaving_the_words_out_would_be_noticed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spec, "prefix", lambda *_: "")
    with pytest.raises(AssertionError):
        await check_prefixes(tiny)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Embedders]:
    changes: list[bool] = []
    of_node = Embedders(
        lambda: built_in(tmp_path / "embedder"),
        tmp_path / "embedders",
        threads=1,
        available_mib=lambda: 8192.0,
        changed=changes.append,
    )
    yield of_node
    await of_node.close()


def served(node: Embedders) -> list[str]:
    return [model.embedder or "" for model in node.served()]


async def test_what_lies_in_the_folder_is_served_and_what_goes_is_not(tiny: Path, node: Embedders) -> None:
    await node.look()
    assert served(node) == [read_spec(tiny).id]
    broken = made.make(tiny.parent / "broken")
    (broken / "tokenizer.json").unlink()
    made.make(tiny.parent / "Other", seed=3)
    await node.look()
    assert served(node) == [read_spec(tiny.parent / "Other").id, read_spec(tiny).id]
    assert node.troubles() == ("broken: model_broken",)
    shutil.rmtree(tiny)
    shutil.rmtree(broken)
    await node.look()
    assert [name.partition("@")[0] for name in served(node)] == ["Other"]
    assert node.troubles() == ()
    with pytest.raises(ModelNotFound):
        await node.embed("tiny", ("x",), "passage", background=False)


async def test_new_files_under_the_same_name_are_another_version(tiny: Path, node: Embedders) -> None:
    await node.look()
    before, _, _ = await node.embed("tiny", ("bees",), "passage", background=False)
    made.make(tiny, seed=9)
    await node.look()
    after, (vector,), _ = await node.embed("tiny", ("bees",), "passage", background=False)
    assert after.id != before.id
    assert np.frombuffer(vector, "<f4") @ reference(tiny, "bees", mean) >= 0.9999


async def test_it_is_loaded_once_for_all_that_ask_and_unloaded_when_nobody_does(
    tiny: Path, node: Embedders, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    start = Embedder.start

    async def counted(self: Embedder) -> None:
        loads.append(self.spec.name)
        await start(self)

    monkeypatch.setattr(Embedder, "start", counted)
    await node.look()
    assert loads == []
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(node.embed("tiny", ("bees",), "query", background=False) for _ in range(8)))
        assert loads == ["tiny"]
        monkeypatch.setattr(embedders, "IDLE_S", -1.0)
        await node.tidy()
        await node.embed("tiny", ("bees",), "query", background=False)
    assert loads == ["tiny", "tiny"]


async def check_who_asks_is_answered(node: Embedders) -> None:
    await node.look()
    await node.embed("tiny", ("bees",), "query", background=False)
    asked = asyncio.create_task(node.embed("tiny", ("bees " * 60,) * 200, "passage", background=True))
    async with asyncio.timeout(LIMIT_S):
        await asyncio.sleep(0)
        await node.tidy()
        await asyncio.wait([asked])
    assert not asked.cancelled()
    assert len(asked.result()[1]) == 200


async def test_one_that_is_being_asked_stays_loaded(
    tiny: Path, node: Embedders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedders, "IDLE_S", -1.0)
    await check_who_asks_is_answered(node)


async def test_unloading_it_all_the_same_would_be_noticed(
    tiny: Path, node: Embedders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedders, "IDLE_S", -1.0)
    unload = embedders.Shelf.unload
    monkeypatch.setattr(embedders.Shelf, "unload", lambda shelf, **_: unload(shelf, in_use=True))
    with pytest.raises(AssertionError):
        await check_who_asks_is_answered(node)


def test_the_trial_refuses_what_tells_no_texts_apart(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedder_trial.tried(tiny, "tiny")["dimensions"] == made.DIMENSIONS
    one = np.ones(made.DIMENSIONS, "<f4").tobytes()
    monkeypatch.setattr(Model, "compute", lambda self, texts: [(one, 1)] * len(texts))
    with pytest.raises(ModelBroken):
        embedder_trial.tried(tiny, "tiny")


async def test_one_that_is_added_while_the_node_runs_is_told_and_asked_by_name(broker: TestBroker, state: Path) -> None:
    async with running(broker, state) as service:
        await service.until_ready()
        aside = made.make(state / "models" / "embedders" / ".tiny.new")
        aside.rename(aside.parent / "tiny")
        expected = read_spec(aside.parent / "tiny").id
        replica = await service.replica_of("tiny")
        told = await service.until(lambda t: any(model.name == "tiny" for model in t.models))
        (model,) = (model for model in told.models if model.name == "tiny")
        assert (model.kind, model.dimensions, model.embedder) == ("embed", made.DIMENSIONS, expected)
        for name, identity in (("tiny", expected), (embedder_graph.EMBEDDER, embedder_graph.EMBEDDER_ID)):
            asked = EmbedRequest(model=name, texts=("bees", "roses"), purpose="query")
            found = await service.api.request(EMBED, asked, replica=replica)
            assert found.embedder == identity
            assert [len(vector) for vector in found.vectors] == [found.dimensions * 4] * 2
        assert replica == f"{NODE_ID}-0"
