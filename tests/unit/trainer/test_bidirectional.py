"""Attention in both directions: the first position hears of the last token, and padding changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from libs.shared.errors import Unsupported
from services.trainer import bidirectional
from services.trainer.bidirectional import FAMILIES, attention_layers, make_bidirectional
from tests.support.decoders import CONFIGURATIONS, WINDOW, WINDOWED_THROUGHOUT, decoder

pytestmark = pytest.mark.torch

IDS = [5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 3, 7]
OTHER = 11
EACH = [
    (name, attention)
    for name in CONFIGURATIONS
    for attention in bidirectional.ATTENTIONS
    if (name, attention) != ("gemma2", "sdpa")  # the library computes its soft cap eagerly alone
]
EVERYONE = pytest.mark.parametrize(("name", "attention"), EACH)


def states(model: Any, ids: list[int], *, before: int = 0, after: int = 0, masked: bool = False) -> Any:
    """Hidden states of the tokens of ``ids``, which stand between so many padding tokens."""
    import torch

    padded = torch.tensor([[0] * before + ids + [0] * after])
    kept = torch.tensor([[0] * before + [1] * len(ids) + [0] * after])
    positions = torch.arange(padded.shape[1])[None] - before
    with torch.inference_mode():
        out = model.base_model(
            input_ids=padded,
            attention_mask=kept if masked or before or after else None,
            position_ids=positions.clamp(min=0),
        )
    return out.last_hidden_state[0, before : before + len(ids)]


def reach(name: str) -> int:
    """How far the first position of two layers sees."""
    return 2 * WINDOW if name in WINDOWED_THROUGHOUT else len(IDS) - 1


def moved(model: Any, changed: int, **padding: Any) -> float:
    """By how much the first position moves when the token at ``changed`` is another one."""
    other = [OTHER if at == changed else token for at, token in enumerate(IDS)]
    return float((states(model, IDS, **padding)[0] - states(model, other, **padding)[0]).abs().max())


PADDED: tuple[dict[str, Any], ...] = ({"before": 3}, {"after": 3}, {"before": 2, "after": 5})
PADDINGS: tuple[dict[str, Any], ...] = ({}, {"masked": True}, *PADDED)


@EVERYONE
def test_the_first_position_hears_of_the_last_token(name: str, attention: str) -> None:
    model = decoder(name, attention)
    for padding in PADDINGS:
        assert moved(model, reach(name), **padding) == 0.0, "a causal model can't know"
    make_bidirectional(model)
    for padding in PADDINGS:
        assert moved(model, reach(name), **padding) > 1e-5, padding


@EVERYONE
def test_padding_changes_nothing_at_real_tokens(name: str, attention: str) -> None:
    import torch

    model = make_bidirectional(decoder(name, attention))
    alone = states(model, IDS)
    for padding in PADDED:
        torch.testing.assert_close(states(model, IDS, **padding), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, attention in EACH if attention == "sdpa"])
def test_both_ways_to_compute_attention_agree(name: str) -> None:
    import torch

    eager, sdpa = (states(make_bidirectional(decoder(name, how)), IDS) for how in bidirectional.ATTENTIONS)
    torch.testing.assert_close(eager, sdpa, rtol=1e-4, atol=1e-5)


def test_a_sliding_window_reaches_equally_far_on_both_sides() -> None:
    model = make_bidirectional(decoder("mistral with windows", num_hidden_layers=1))
    assert moved(model, WINDOW) > 1e-5
    assert moved(model, WINDOW + 1) == 0.0


@pytest.mark.parametrize("attention", bidirectional.ATTENTIONS)
def test_telling_the_layers_alone_is_noticed(attention: str) -> None:
    """A mutation of the tests above: a change that passes for SDPA without padding, and for nothing else."""
    model = decoder("llama", attention)
    for layer in attention_layers(model):
        layer.is_causal = False
    heard = [moved(model, reach("llama"), **padding) > 1e-5 for padding in PADDINGS]
    assert not all(heard)


def test_every_family_is_tested() -> None:
    kinds = {decoder(name, "eager").config.model_type for name in CONFIGURATIONS}
    assert kinds == set(FAMILIES)


def test_another_family_is_refused_with_those_that_are_not() -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type="mamba"))
    with pytest.raises(Unsupported, match=r"mamba can't be made an encoder.*Llama, Mistral, Qwen 2.*Gemma 3") as caught:
        make_bidirectional(model)
    assert "llama" in caught.value.data["supported"]


def test_attention_that_nobody_tested_is_refused() -> None:
    config = SimpleNamespace(model_type="llama", _attn_implementation="flash_attention_2")
    with pytest.raises(Unsupported, match=r"flash_attention_2.*eager and sdpa"):
        make_bidirectional(SimpleNamespace(config=config))
