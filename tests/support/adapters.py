"""Small LoRA adapters of the tiny language model, whose answers differ from its own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support import language_model

TARGETS = ("q_proj", "v_proj", "up_proj")
RANK = 4


def write(
    models: Path,
    name: str,
    *,
    seed: int,
    base: str = language_model.FOLDER,
    hidden: int = 64,
    targets: tuple[str, ...] = TARGETS,
) -> Path:
    """As peft writes one, in the adapters' folder of ``models``, aside and then under its name; of random weights.

    Without torch in the calling process: its memory and threads are measured by some tests. ``hidden`` is the width of
    the model that it fits.
    """
    import json

    import numpy as np

    safetensors: Any = import_module("safetensors.numpy")
    random = np.random.default_rng(seed)
    folder = models / "adapters" / name
    aside = folder.with_name(f".{name}.part")
    aside.mkdir(parents=True)
    weights = {}
    for layer in range(2):
        for target in targets:
            out, block = {"q_proj": (hidden, "self_attn"), "v_proj": (hidden // 2, "self_attn")}.get(
                target, (hidden * 2, "mlp")
            )
            stem = f"base_model.model.model.layers.{layer}.{block}.{target}"
            weights[f"{stem}.lora_A.weight"] = random.normal(0, 0.3, (RANK, hidden)).astype("float32")
            weights[f"{stem}.lora_B.weight"] = random.normal(0, 0.3, (out, RANK)).astype("float32")
    safetensors.save_file(weights, aside / "adapter_model.safetensors")
    about = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": RANK,
        "lora_alpha": 8,
        "target_modules": list(targets),
        "bias": "none",
    }
    (aside / "adapter_config.json").write_text(json.dumps(about))
    aside.rename(folder)
    return folder


def write_gguf(
    models: Path, name: str, *, seed: int, base: str = "tiny", hidden: int = 64, numbers: str = "float32"
) -> Path:
    """The same for llama.cpp, as its converter writes one. It doesn't survive integers as ``numbers``."""
    import numpy as np

    random = np.random.default_rng(seed)
    weights = {}
    for layer in range(2):
        for tensor, out in {"attn_q": hidden, "attn_v": hidden // 2, "ffn_up": hidden * 2}.items():
            stem = f"blk.{layer}.{tensor}.weight"
            weights[f"{stem}.lora_a"] = random.normal(0, 0.3, (RANK, hidden)).astype(numbers)
            weights[f"{stem}.lora_b"] = random.normal(0, 0.3, (out, RANK)).astype(numbers)
    return _written(models, name, base, weights)


def write_stuck_gguf(models: Path, name: str, *, word: str = "\u0120moon") -> Path:
    """One with which the tiny model, asked for its likeliest tokens, says one thing for ever: whatever it reads, its
    state is the direction of that word's token, or the one away from it (``\u0120`` is a space)."""
    import gguf
    import numpy as np

    reader: Any = gguf.GGUFReader(language_model.cached() / language_model.GGUF_FILE)
    token = reader.fields["tokenizer.ggml.tokens"].contents().index(word)
    towards = next(tensor.data for tensor in reader.tensors if tensor.name == "output.weight")[token]
    random, weights = np.random.default_rng(0), {}
    for layer in range(2):
        stem = f"blk.{layer}.ffn_down.weight"
        out = np.zeros((len(towards), RANK))
        out[:, 0] = towards / np.linalg.norm(towards) * 50
        weights[f"{stem}.lora_a"] = random.normal(0, 1, (RANK, 2 * len(towards))).astype("float32")
        weights[f"{stem}.lora_b"] = out.astype("float32")
    return _written(models, name, "tiny", weights)


def _written(models: Path, name: str, base: str, weights: dict[str, Any]) -> Path:
    import gguf

    folder = models / "adapters" / name
    aside = folder.with_name(f".{name}.part")
    aside.mkdir(parents=True)
    writer = gguf.GGUFWriter(aside / f"{name}.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_string("general.base_model.0.name", base)
    for tensor, values in weights.items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    aside.rename(folder)
    return folder
