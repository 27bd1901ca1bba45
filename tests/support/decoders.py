"""Tiny decoders of every supported family, with random weights."""

from __future__ import annotations

from importlib import import_module
from typing import Any

WINDOW = 4
"""Tokens that a sliding layer sees on either side."""
VOCABULARY = 48
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral with windows": ("MistralConfig", {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2 with windows": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "gemma": ("GemmaConfig", {"head_dim": 16}),
    "gemma2": ("Gemma2Config", {"head_dim": 16, "sliding_window": WINDOW}),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 16, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}
"""Name → configuration class, and what it is given beyond its size."""
WINDOWED_THROUGHOUT = ("mistral with windows",)
"""No layer of these sees the whole text."""


def decoder(name: str, attention: str = "sdpa", **about: Any) -> Any:
    """A decoder of two layers in evaluation mode, the same at every call."""
    import torch

    transformers: Any = import_module("transformers")
    kind, own = CONFIGURATIONS[name]
    size = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    config = getattr(transformers, kind)(**(size | own | about))
    # More threads than one only wait for each other at this size.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    # Weights as small as the library draws them leave attention nearly uniform, and its faults nearly invisible.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model.eval()
