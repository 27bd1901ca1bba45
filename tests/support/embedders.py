"""Small embedders for tests, as people download them: a BERT of two layers with random weights, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIMENSIONS = 32
LAYERS = 2
HEADS = 4
POSITIONS = 80
SENTENCES = (
    "my sister has three bees in her garden",
    "ma soeur a trois abeilles dans son jardin",
    "the train to the mountains leaves at nine",
    "what is the name of the dog that sleeps here",
)


def make(folder: Path, *, seed: int = 0, family: str = "bert", prefix: str = "") -> Path:
    """``tokenizer.json``, ``config.json`` and ``model.safetensors``, the weights' names behind ``prefix``."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder / "tokenizer.json")
    config: dict[str, Any] = {
        "model_type": family,
        "hidden_size": DIMENSIONS,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "pad_token_id": 0,
        "max_position_embeddings": POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {f"{prefix}{name}": value for name, value in _weights(vocabulary, seed).items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def _write_tokenizer(path: Path) -> int:
    """Every letter is a token, and so are the words of some sentences."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(33, 127)]
    known = sorted({word for sentence in SENTENCES for word in sentence.split()} - set(letters))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *known]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))
    return len(vocabulary)


def _weights(vocabulary: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    draw = np.random.default_rng(seed)

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return (draw.standard_normal(shape) * 0.3).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": random(vocabulary, DIMENSIONS).astype(np.float16).astype(np.float32),
        "embeddings.position_embeddings.weight": random(POSITIONS, DIMENSIONS),
        "embeddings.token_type_embeddings.weight": random(2, DIMENSIONS),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        shapes = {f"attention.self.{part}": (DIMENSIONS, DIMENSIONS) for part in ("query", "key", "value")}
        shapes |= {"attention.output.dense": (DIMENSIONS, DIMENSIONS)}
        shapes |= {"intermediate.dense": (4 * DIMENSIONS, DIMENSIONS), "output.dense": (DIMENSIONS, 4 * DIMENSIONS)}
        for name, shape in shapes.items():
            made[f"{layer}.{name}.weight"] = random(*shape)
            made[f"{layer}.{name}.bias"] = random(shape[0])
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        made[f"{name}.weight"] = 1 + random(DIMENSIONS)
        made[f"{name}.bias"] = random(DIMENSIONS)
    return made
