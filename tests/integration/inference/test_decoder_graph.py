"""Graphs of decoders that see in both directions give what torch gives, whatever the family, padded or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from libs.shared.errors import ModelBroken
from services.inference import decoder_graph, decoder_shape, embedder_build
from services.inference.embedder_model import Model
from services.inference.embedder_specs import BUILT_FILE, BUILT_WEIGHTS, read_spec
from tests.support import language_model
from tests.support.decoders import CONFIGURATIONS, decoder

pytestmark = pytest.mark.torch

Array = npt.NDArray[Any]
IDS = (5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 3, 7)
OTHER = 11
NEAR = 1e-4
LLAMA_3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR: dict[str, Any] = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def both_ways(name: str, **about: Any) -> Any:
    from services.trainer.bidirectional import make_bidirectional

    return make_bidirectional(decoder(name, "eager", **about))


def built(model: Any, folder: Path) -> Any:
    """The graph's session, of the model as it is saved."""
    import onnxruntime

    model.save_pretrained(folder)
    embedder_build.build(folder)
    assert embedder_build.is_built(folder)
    return onnxruntime.InferenceSession(str(folder / BUILT_FILE))


def by_graph(session: Any, rows: Array) -> Array:
    kept = (rows != 0).astype(np.int64)
    (found,) = session.run(None, {"input_ids": rows, "attention_mask": kept})
    return np.asarray(found)


def by_torch(model: Any, rows: Array) -> Array:
    import torch

    with torch.inference_mode():
        out = model.base_model(input_ids=torch.tensor(rows), attention_mask=torch.tensor((rows != 0).astype(int)))
    return np.asarray(out.last_hidden_state.float().numpy())


def padded(*rows: tuple[int, ...]) -> Array:
    return np.array([(*row, *(0,) * (len(IDS) - len(row))) for row in rows], dtype=np.int64)


def check_the_same(model: Any, folder: Path) -> None:
    session = built(model, folder)
    for rows in (padded(IDS), padded(IDS, IDS[:7], IDS[3:5])):
        apart = np.abs(by_graph(session, rows) - by_torch(model, rows))[rows != 0]
        assert apart.max() < NEAR
    # what stands where padding is moves nothing, and the last token moves the first position
    alone = by_graph(session, np.array([IDS[:7]], dtype=np.int64))
    np.testing.assert_allclose(by_graph(session, padded(IDS[:7]))[:, :7], alone, atol=NEAR)
    near = IDS[:5]  # within every window
    changed = by_graph(session, np.array([(*near[:-1], OTHER)])) - by_graph(session, np.array([near]))
    assert np.abs(changed[0, 0]).max() > NEAR


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_graph_gives_what_torch_gives(name: str, tmp_path: Path) -> None:
    check_the_same(both_ways(name), tmp_path)


@pytest.mark.parametrize("rope", [LLAMA_3, LINEAR])
def test_positions_that_are_stretched_turn_as_torch_turns_them(rope: dict[str, Any], tmp_path: Path) -> None:
    check_the_same(both_ways("llama", rope_parameters=rope), tmp_path)


def test_weights_in_half_precision_are_read_as_they_are(tmp_path: Path) -> None:
    import torch

    whole = both_ways("qwen2")
    halved = {name: weight.to(torch.bfloat16) for name, weight in whole.state_dict().items()}
    session = built(both_ways("qwen2").to(torch.bfloat16), tmp_path)
    whole.load_state_dict(halved)
    rows = padded(IDS, IDS[:7])
    apart = np.abs(by_graph(session, rows) - by_torch(whole, rows))[rows != 0]
    assert apart.max() < NEAR
    assert (tmp_path / BUILT_WEIGHTS).stat().st_size < 2 * (tmp_path / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("part", "name"), [("_sight", "gemma2"), ("_turn", "llama"), ("_activated", "gemma")])
def test_a_part_that_is_left_out_is_noticed(
    part: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left_out(graph: Any, *given: Any) -> Any:
        if part == "_sight":
            return graph.const("everything", np.zeros((1, 1, 1, 1, 1), np.float32))
        return given[-1]

    monkeypatch.setattr(decoder_graph._Graph, part, left_out)
    with pytest.raises(AssertionError):
        check_the_same(both_ways(name), tmp_path)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"is_causal": True}, "from left to right"),
        ({"hidden_act": "relu"}, "relu"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "yarn"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
        ({"layer_types": ["full_attention"]}, "isn't built"),
        ({"num_attention_heads": "many"}, "no readable config.json"),
    ],
)
def test_what_is_not_built_is_refused_by_name(about: dict[str, Any], words: str, tmp_path: Path) -> None:
    config = both_ways("qwen3").config.to_dict() | about
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelBroken) as refused:
        embedder_build.read_shape(tmp_path)
    assert words in refused.value.detail


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    built(both_ways("llama"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelBroken, match=r"layers\.2\.input_layernorm"):
        embedder_build.build(tmp_path)


def test_every_family_that_can_be_trained_is_built() -> None:
    from services.trainer.bidirectional import FAMILIES

    assert set(FAMILIES) == decoder_shape.DECODERS


def test_a_text_s_vector_is_the_one_that_training_has_of_it(tmp_path: Path) -> None:
    from services.trainer.bidirectional import make_bidirectional
    from services.trainer.encoder import load
    from services.trainer.packing import tokenized
    from services.trainer.pooling import embed

    model, tokenizer = load(language_model.cached() / language_model.FOLDER)
    make_bidirectional(model)
    built(model, tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = (*language_model.SENTENCES, "she keeps", "the cat, the DOG\nand 3 bées")
    found = Model(read_spec(tmp_path, "tiny"), threads=1).compute(list(texts))
    rows = list(tokenized(texts, tokenizer))
    wanted = embed(model, rows, padding=tokenizer.pad_token_id).numpy()
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert [tokens for _, tokens in found] == [len(row) for row in rows]
    vectors = np.array([np.frombuffer(vector, "<f4") for vector, _ in found])
    np.testing.assert_allclose(vectors, wanted, atol=NEAR)
