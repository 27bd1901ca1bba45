"""Lets every token of a Hugging Face decoder see those after it as well as those before it."""

from __future__ import annotations

from typing import Any

from libs.shared.errors import Unsupported

FAMILIES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen 2",
    "qwen3": "Qwen 3",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
}
"""``model_type`` of each supported decoder, and the name that people know it by."""
ATTENTIONS = ("eager", "sdpa")
"""Ways to compute attention for which it is tested that the mask is the one that is meant."""


def family(model: Any) -> str:
    """The ``model_type`` of ``model``; raises Unsupported with those that are, when it is none of them."""
    kind = str(model.config.model_type)
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES.values())
        raise Unsupported(f"{kind} can't be made an encoder; these can: {known}", supported=sorted(FAMILIES))
    return kind


def make_bidirectional(model: Any) -> Any:
    """``model`` itself, with attention in both directions (BehnamGhader et al. 2024, LLM2Vec, §2.1).

    A layer with a sliding window keeps its window, now on both sides: its weights have never met a token further away.
    Raises Unsupported for another family, or another implementation of attention than eager and SDPA.
    """
    family(model)
    if model.config._attn_implementation not in ATTENTIONS:
        known = " and ".join(ATTENTIONS)
        raise Unsupported(f"attention by {model.config._attn_implementation} isn't made bidirectional; {known} are")
    # The configuration decides the mask that the model makes; without a mask (nothing padded), SDPA asks the layer.
    # Either alone leaves one of the two cases causal in some version of the library.
    model.config.is_causal = False
    for layer in attention_layers(model):
        layer.is_causal = False
    # A cache would hold keys computed without the tokens to come.
    model.config.use_cache = False
    return model


def attention_layers(model: Any) -> list[Any]:
    """Every self-attention of ``model``, first layer first."""
    return [module for name, module in model.named_modules() if name.endswith("self_attn")]
