"""Small encoders as a training leaves them, without torch: a Llama of two layers that sees in both directions."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from libs.shared.artefacts.encoders import FILES, version_of
from libs.shared.contracts.adapters import ArtefactFile, BaseModelOf, Manifest
from tests.support import embedders

WIDTH, HEADS, KEY_HEADS, WIDE, LAYERS = 32, 4, 2, 64, 2


def make(folder: Path, *, seed: int = 0, version: str | None = None) -> Path:
    """The four files that nodes fetch; ``version``: another than their own."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    embedders.make(folder, seed=seed)  # for its tokenizer
    words = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    save_file(_weights(words, seed), folder / "model.safetensors")
    config: dict[str, Any] = {
        "model_type": "llama",
        "is_causal": False,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    about = {"pooling": "mean", "normalise": True, "max_tokens": 64, "dimensions": WIDTH}
    hashes = {name: _sha256(folder / name) for name in FILES if name != "embedder.json"}
    (folder / "embedder.json").write_text(json.dumps(about | {"version": version or version_of(hashes, about)}))
    return folder


def manifest_of(folder: Path, name: str, **about: Any) -> Manifest:
    """As the trainer writes it; ``about``: what is otherwise."""
    files = tuple(
        ArtefactFile(name=file, size=(folder / file).stat().st_size, sha256=_sha256(folder / file)) for file in FILES
    )
    told = json.loads((folder / "embedder.json").read_bytes())
    given = {
        "configuration": {"run": "r1"} | {name: told[name] for name in ("version", "dimensions", "max_tokens")},
        "metrics": {"accepted": 1.0, "decision": "accepted: better"},
    }
    base = BaseModelOf(name="tiny")
    return Manifest(name=name, kind="encoder", base=base, files=files, created=datetime.now(UTC), **(given | about))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(words: int, seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    size = WIDTH // HEADS
    shapes = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (KEY_HEADS * size, WIDTH),
        "self_attn.v_proj": (KEY_HEADS * size, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (WIDE, WIDTH),
        "mlp.up_proj": (WIDE, WIDTH),
        "mlp.down_proj": (WIDTH, WIDE),
    }
    made = {"model.embed_tokens.weight": draw.standard_normal((words, WIDTH)).astype(np.float32)}
    norms = ["model.norm"]
    for layer in (f"model.layers.{number}" for number in range(LAYERS)):
        for name, shape in shapes.items():
            made[f"{layer}.{name}.weight"] = (draw.standard_normal(shape) * 0.1).astype(np.float32)
        norms += [f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"]
    return made | {f"{name}.weight": np.ones(WIDTH, np.float32) for name in norms}
