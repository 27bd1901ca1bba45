"""What a run will need is told from its model's configuration, near to what is measured, and with what would fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libs.shared.contracts.training import MntpOptions
from libs.shared.errors import ModelBroken, ModelDoesNotFit
from services.trainer import estimate
from services.trainer.estimate import MIB, Shape, needed_bytes, read_shape, refuse_what_does_not_fit, what_would_fit

SEVEN_B = Shape(weights=7_000_000_000, layers=32, width=4096, inner=11008, queries=4096, keys=4096, vocabulary=32000)
SMALL = Shape(weights=100_000_000, layers=12, width=768, inner=2048, queries=768, keys=768, vocabulary=32000)


def configuration(folder: Path, **about: object) -> Path:
    plain = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "num_hidden_layers": 2}
    folder.joinpath("config.json").write_text(json.dumps(plain | {"vocab_size": 100, "model_type": "llama"} | about))
    return folder


def test_the_shape_is_read_from_the_configuration(tmp_path: Path) -> None:
    found = read_shape(configuration(tmp_path, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True))
    assert (found.layers, found.width, found.inner, found.queries, found.keys) == (2, 64, 128, 128, 64)
    assert found.weights == 100 * 64 + 2 * 64 * (2 * 128 + 2 * 64 + 3 * 128)


def test_a_configuration_that_does_not_say_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=tmp_path.name):
        read_shape(configuration(tmp_path, hidden_size=None))


def test_what_fits_is_not_refused() -> None:
    refuse_what_does_not_fit(SMALL, MntpOptions(), needed_bytes(SMALL, MntpOptions(), twice=True))


def test_a_model_that_is_too_large_is_refused_with_the_size_that_would_fit() -> None:
    with pytest.raises(ModelDoesNotFit, match="a model of at most 1923 million weights would fit") as caught:
        refuse_what_does_not_fit(SEVEN_B, MntpOptions(), 8192 * MIB)
    assert caught.value.data["available_mib"] == 8192


@pytest.mark.parametrize("spare_mib", [200, 400, 800, 1600])
def test_what_is_said_to_fit_does(spare_mib: int) -> None:
    free = SMALL.resident_bytes + spare_mib * MIB
    asked = MntpOptions(block_tokens=8192, contrast_batch=4096)
    words = what_would_fit(SMALL, asked, free)
    assert words.startswith("it would fit with ")
    said = {
        name: int(value)
        for name, value in (one.split() for one in words.removeprefix("it would fit with ").split(", "))
    }
    refuse_what_does_not_fit(SMALL, asked.model_copy(update=said), free)


@pytest.mark.torch
def test_the_estimate_is_near_what_autograd_keeps() -> None:
    from services.trainer.bidirectional import make_bidirectional
    from services.trainer.configuration import Lora
    from services.trainer.lora import attach
    from services.trainer.masking import BERT, mask
    from services.trainer.memory import saved_bytes
    from services.trainer.mntp import hidden_loss
    from tests.support.decoders import VOCABULARY, decoder
    from tests.support.training import MASKING, blocks

    width, inner = 128, 384
    model = decoder("llama", hidden_size=width, intermediate_size=inner, num_hidden_layers=4, num_attention_heads=4)
    make_bidirectional(model)
    attach(model, Lora(), seed=0)
    model.train()
    batch = mask(blocks(8), recipe=BERT, vocabulary=MASKING, seed=0, step=0)
    measured = saved_bytes(lambda: hidden_loss(model, batch))
    shape = Shape(0, layers=4, width=width, inner=inner, queries=width, keys=width // 4, vocabulary=VOCABULARY)
    estimated = shape.kept_bytes(batch.ids.size, twice=False, logits=True) / estimate.HEADROOM
    print(f"estimated {estimated / measured:.2f} of what was measured")
    assert 0.8 < estimated / measured < 1.4
