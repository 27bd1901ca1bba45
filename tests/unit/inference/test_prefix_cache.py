"""A cache is held only for models whose caches can be shortened."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from services.inference.backends.prefix_cache import PrefixCache, stretches

pytestmark = pytest.mark.torch

KINDS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "attention": ("LlamaConfig", {}, True),
    "window": ("MistralConfig", {"sliding_window": 8}, False),
    "convolution": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}, False),
}


def read(name: str, about: dict[str, Any], ids: list[int]) -> Any:
    """The cache of a small model of that kind that has read ``ids``."""
    import torch

    transformers: Any = import_module("transformers")
    config = getattr(transformers, name)(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        **about,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=True).past_key_values


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_can_be_shortened_is_held(kind: str) -> None:
    name, about, held = KINDS[kind]
    ids, prefix = list(range(1, 13)), PrefixCache()
    prefix.keep("ada", read(name, about, ids), ids)
    assert prefix.holds == held
    cache, same = prefix.take("ada", [*ids[:5], 20, 21])
    assert same == (5 if held else 0)
    assert cache is None or cache.get_seq_length() == 5
    assert not prefix.holds, "what is taken is gone until it is kept again"


@pytest.mark.parametrize(
    ("parameters", "stretched"),
    [
        (None, False),
        ({"rope_type": "default", "rope_theta": 1e4}, False),
        ({"rope_type": "longrope", "factor": 4.0}, True),
        ({"full_attention": {"rope_type": "dynamic"}, "sliding_attention": {"rope_type": "default"}}, True),
    ],
)
def test_positions_that_depend_on_a_prompt_s_length_are_known(parameters: object, stretched: bool) -> None:
    assert stretches(SimpleNamespace(rope_parameters=parameters)) == stretched
