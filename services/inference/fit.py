"""Whether a model fits into memory, decided before it is loaded. Pure, but for reading the sizes of files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from libs.shared.errors import ModelBroken, ModelDoesNotFit

MIB = 1024 * 1024
OVERHEAD_MIB = 192.0
"""Buffers of a runtime beside weights and cache, measured with small models."""
KEPT_FREE_MIB = 256.0
"""Left for everything else on the node."""
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Needs:
    """Bytes of a model's weights, and of the keys and values of its context."""

    weights: int
    cache: int

    @property
    def mib(self) -> float:
        return (self.weights + self.cache) / MIB + OVERHEAD_MIB


@dataclass(frozen=True)
class Shape:
    """A local model, from its files alone."""

    needs: Needs
    context_tokens: int


def check_fit(name: str, needed: Needs, available_mib: float) -> None:
    """Raises ModelDoesNotFit with both figures."""
    if needed.mib > available_mib - KEPT_FREE_MIB:
        raise ModelDoesNotFit(
            f"{name} needs {needed.mib:.0f} MiB and {max(0.0, available_mib - KEPT_FREE_MIB):.0f} MiB are free",
            needed_mib=round(needed.mib),
            available_mib=round(available_mib),
        )


def folder_shape(folder: Path, context_tokens: int | None, default_context: int) -> Shape:
    """Raises ModelBroken when the folder isn't a model's."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        text = config.get("text_config") or config
        trained = int(text.get("max_position_embeddings") or default_context)
        context = min(context_tokens or default_context, trained)
        heads = int(text["num_attention_heads"])
        width = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
        per_token = 2 * int(text["num_hidden_layers"]) * int(text.get("num_key_value_heads") or heads) * width * 4
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ModelBroken(f"{folder.name} has no readable config.json of a language model") from error
    weights = _weights(folder)
    if not weights:
        raise ModelBroken(f"{folder.name} holds no weights")
    return Shape(Needs(weights, per_token * context), context)


def _weights(folder: Path) -> int:
    """Of the first kind of file that is there: some folders hold the same weights in two formats."""
    for pattern in WEIGHT_FILES:
        if found := sum(path.stat().st_size for path in folder.glob(pattern)):
            return found
    return 0
