"""What a run will need of the machine's memory, by its model's configuration alone: asked before anything is loaded.

A run measures itself, too, once its model is there (``memory.py``); this is what a refusal is told from without waiting
for that. Figures are of a processor, where weights and activations are float32. Pure but for ``read_shape``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from libs.shared.contracts.training import MntpOptions
from libs.shared.errors import ModelBroken, ModelDoesNotFit

MIB = 1024 * 1024
FLOAT = 4
LORA_RANK = 16
OF_ADAPTER = 4
"""Floats for each weight of an adapter: itself, its gradient, and AdamW's two moments."""
OF_WIDTH, OF_INNER = 18, 6
"""Floats that a layer keeps of each token for the way back, in widths of the model and of its feed-forward part: what
enters each adapter, dropout's masks, the two norms, queries, keys and values, and the gate. A test holds the sum to
what autograd keeps."""
OF_LOGIT = 3
"""Floats for each token of the vocabulary at a hidden token: the logit, its softmax, and its gradient."""
HIDDEN = 0.2
"""Share of the tokens that are hidden; Mistral's is 0.8 (``masking.py``)."""
HEADROOM = 1.5
"""As in ``memory.py``."""
LIBRARIES_BYTES = 500 * MIB
"""Of a process that has loaded torch and transformers: 430 MiB were measured."""
LEAST_TOKENS = 8
LEAST_SENTENCES = 2


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much memory it takes to train."""

    weights: int
    """All of them."""
    layers: int
    width: int
    inner: int
    """Width of the feed-forward part."""
    queries: int
    """Width of all queries of a token; of its keys, and of its values, ``keys``."""
    keys: int
    vocabulary: int
    hidden: float = HIDDEN

    @property
    def resident_bytes(self) -> int:
        """With an encoder's adapters."""
        return self.resident_with(LORA_RANK)

    def resident_with(self, rank: int) -> int:
        """Weights, adapters of that rank with all that the optimiser remembers, and the libraries."""
        wide = 2 * (self.width + self.queries) + 2 * (self.width + self.keys) + 3 * (self.width + self.inner)
        adapters = rank * self.layers * wide * OF_ADAPTER
        return FLOAT * (self.weights + adapters) + LIBRARIES_BYTES

    def _layer_token(self) -> int:
        return FLOAT * (OF_WIDTH * self.width + 2 * (self.queries + self.keys) + OF_INNER * self.inner)

    def kept_bytes(self, tokens: int, *, twice: bool, logits: bool) -> int:
        """For the way back from ``tokens`` tokens; ``twice``: all but the layers' inputs is computed anew."""
        layers = self._layer_token() + FLOAT * self.layers * self.width if twice else self._layer_token() * self.layers
        words = OF_LOGIT * FLOAT * self.vocabulary * self.hidden if logits else 0
        return int(tokens * (layers + words) * HEADROOM)


def read_shape(folder: Path) -> Shape:
    """Of a Hugging Face folder. Raises ModelBroken when its configuration doesn't say."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head = int(config.get("head_dim") or width // heads)
        inner, layers = int(config["intermediate_size"]), int(config["num_hidden_layers"])
        queries, keys = heads * head, head * int(config.get("num_key_value_heads") or heads)
        vocabulary = int(config["vocab_size"])
        tables = 1 if config.get("tie_word_embeddings") else 2
        weights = tables * vocabulary * width + layers * width * (2 * queries + 2 * keys + 3 * inner)
        hidden = 0.8 if config.get("model_type") == "mistral" else HIDDEN
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelBroken(f"the configuration of {folder.name} can't be read ({type(error).__name__})") from None
    return Shape(weights, layers, width, inner, queries, keys, vocabulary, hidden)


def needed_bytes(shape: Shape, options: MntpOptions, *, twice: bool) -> int:
    """At the least, by the hungrier training: one row at a time of the first, all sentences of the second."""
    row = shape.kept_bytes(options.block_tokens, twice=twice, logits=True)
    sentences = 2 * options.contrast_batch * options.sentence_tokens if options.contrast_steps else 0
    return shape.resident_bytes + max(row, shape.kept_bytes(sentences, twice=twice, logits=False))


def refuse_what_does_not_fit(shape: Shape, options: MntpOptions, free: int) -> None:
    """Raises ModelDoesNotFit with both figures, and with what would fit."""
    needed = needed_bytes(shape, options, twice=True)
    if needed > free:
        raise does_not_fit(needed, free, what_would_fit(shape, options, free))


def does_not_fit(needed: int, free: int, what_would: str) -> ModelDoesNotFit:
    """Both figures, in bytes, and what would fit, in words. Pure."""
    return ModelDoesNotFit(
        f"the run needs {needed / MIB:.0f} MiB and {free / MIB:.0f} MiB are free: {what_would}",
        needed_mib=round(needed / MIB),
        available_mib=round(free / MIB),
    )


def what_would_fit(shape: Shape, options: MntpOptions, free: int) -> str:
    """The least change that makes it fit, in words."""
    if shape.resident_bytes >= free:
        return smaller_model(shape, free)

    def fits(changed: MntpOptions) -> bool:
        return needed_bytes(shape, changed, twice=True) <= free

    smaller = _smaller(options, fits)
    if smaller is None:
        return "not even the shortest rows of this model would fit: choose a smaller one"
    return "it would fit with " + ", ".join(
        f"{name} {getattr(smaller, name)}"
        for name in ("block_tokens", "sentence_tokens", "contrast_batch")
        if getattr(smaller, name) != getattr(options, name)
    )


def smaller_model(shape: Shape, free: int) -> str:
    """How large one may be, in words."""
    model_mib = max(0, free - LIBRARIES_BYTES) / MIB / FLOAT
    return f"a model of at most {model_mib:.0f} million weights would fit, and this one has {shape.weights / 1e6:.0f}"


def _smaller(options: MntpOptions, fits: Callable[[MntpOptions], bool]) -> MntpOptions | None:
    """By halves: rows first, then how many sentences are told apart, then their length; the first that fits."""
    tried = options
    while not fits(tried):
        without_contrast = tried.model_copy(update={"contrast_steps": 0})
        if not fits(without_contrast) and tried.block_tokens > LEAST_TOKENS:
            update = {"block_tokens": max(LEAST_TOKENS, tried.block_tokens // 2)}
        elif tried.contrast_batch > LEAST_SENTENCES:
            update = {"contrast_batch": max(LEAST_SENTENCES, tried.contrast_batch // 2)}
        elif tried.sentence_tokens > LEAST_TOKENS:
            update = {"sentence_tokens": max(LEAST_TOKENS, tried.sentence_tokens // 2)}
        else:
            return None
        tried = tried.model_copy(update=update)
    return tried
