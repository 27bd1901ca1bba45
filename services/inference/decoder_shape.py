"""What a decoder's weights alone don't tell, from its ``config.json``: how it turns, scales, caps and sees. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from libs.shared.errors import ModelBroken
from services.inference.graph_nodes import Array

DECODERS = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
"""``model_type`` of what is built when it was made to see in both directions."""
GEMMAS = frozenset({"gemma", "gemma2", "gemma3_text"})
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_SCALINGS = ("default", "linear", "llama3")
_MIXED = ("gemma2", "gemma3_text")
"""Some of their layers have windows."""
_FULL, _SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Layer:
    """What one layer has of its own."""

    window: int | None
    """Tokens that it sees on either side; None: all."""
    turns: tuple[float, ...]
    """Radians a position, for half the numbers of a head (rotary positions, Su et al. 2021)."""


@dataclass(frozen=True)
class DecoderShape:
    """Of one model."""

    layers: tuple[Layer, ...]
    heads: int
    key_value_heads: int
    head_size: int
    width: int
    epsilon: float
    activation: str
    score_scale: float
    score_cap: float | None
    """Gemma 2's: scores stay within it, softly."""
    word_scale: float
    norms_add_one: bool
    """Gemma keeps how far a norm's weights are from 1."""


def decoder_shape(config: Mapping[str, Any], label: str) -> DecoderShape:
    """Raises ModelBroken, with what isn't built or can't be read."""
    family = str(config.get("model_type"))
    if config.get("is_causal") is not False:
        raise ModelBroken(f"{label} reads from left to right alone: make an encoder of it first (mongars train mntp)")
    activation = config.get("hidden_activation") or config.get("hidden_act")
    if activation not in ACTIVATIONS:
        raise ModelBroken(f"{label} has the activation {activation!a}, which isn't built")
    try:
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        size = int(config.get("head_dim") or width // heads)
        return DecoderShape(
            layers=_layers(config, size, label),
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_size=size,
            width=width,
            epsilon=float(config["rms_norm_eps"]),
            activation=ACTIVATIONS[activation],
            score_scale=float(config.get("query_pre_attn_scalar") or size) ** -0.5,
            score_cap=config.get("attn_logit_softcapping"),
            word_scale=math.sqrt(width) if family in GEMMAS else 1.0,
            norms_add_one=family in GEMMAS,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise ModelBroken(f"{label} has no readable config.json of a decoder") from error


def _layers(config: Mapping[str, Any], head_size: int, label: str) -> tuple[Layer, ...]:
    count = int(config["num_hidden_layers"])
    windowed = config["model_type"] == "mistral" and config.get("sliding_window") is not None
    usual = _SLIDING if windowed else _FULL
    kinds = config.get("layer_types") or [usual] * count
    if len(kinds) != count or not set(kinds) <= {_FULL, _SLIDING}:
        raise ModelBroken(f"{label} has layers of a kind that isn't built: {', '.join(sorted(set(kinds)))}")
    if "layer_types" not in config and config.get("use_sliding_window", config["model_type"] in _MIXED):
        raise ModelBroken(f"{label} doesn't say which of its layers have windows")
    turns = {kind: _turns(config, kind, head_size, label) for kind in set(kinds)}
    return tuple(Layer(int(config["sliding_window"]) if kind == _SLIDING else None, turns[kind]) for kind in kinds)


def _turns(config: Mapping[str, Any], kind: str, head_size: int, label: str) -> tuple[float, ...]:
    told = config.get("rope_parameters") or {"rope_theta": config["rope_theta"], **(config.get("rope_scaling") or {})}
    told = told.get(kind, told)
    scaling = told.get("rope_type", told.get("type", "default"))
    if scaling not in _SCALINGS or told.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelBroken(f"{label} turns its positions in a way that isn't built ({scaling})")
    plain = float(told["rope_theta"]) ** -(np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    if scaling == "linear":
        plain = plain / float(told["factor"])
    elif scaling == "llama3":
        plain = _as_llama_3(plain, told)
    return tuple(plain.tolist())


def _as_llama_3(plain: Array, told: Mapping[str, Any]) -> Array:
    """Slow turns are made slower by a factor, quick ones are left, and those between lie between (Llama 3.1)."""
    factor, low, high = (float(told[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = float(told["original_max_position_embeddings"])
    share = np.clip((trained * plain / (2 * np.pi) - low) / (high - low), 0.0, 1.0)
    return np.asarray((1 - share) * plain / factor + share * plain)
