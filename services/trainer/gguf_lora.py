"""Writes a LoRA adapter as the GGUF that llama.cpp loads beside the same model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""``model_type`` → what llama.cpp calls it."""
LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.([a-z_.]+)\.lora_([AB])\.weight")


def write(path: Path, weights: Mapping[str, Tensor], config: Any, *, alpha: float, base: str) -> None:
    """``weights``: by their names in peft; ``config``: of the model, by Hugging Face; ``base``: the model's name."""
    gguf: Any = import_module("gguf")
    architecture = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    writer.add_string("general.base_model.0.name", base)
    for name, weight in sorted(weights.items()):
        writer.add_tensor(*_tensor(name, weight, config, rotated=architecture == "llama"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensor(name: str, weight: Tensor, config: Any, *, rotated: bool) -> tuple[str, Any]:
    matched = _NAME.fullmatch(name)
    assert matched is not None, name
    layer, projection, half = matched.groups()
    # numpy knows no bfloat16.
    values = weight.to(torch.float16 if weight.dtype is not torch.float32 else torch.float32).numpy()
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    if rotated and half == "B" and projection in heads:
        values = _interleaved(values, heads[projection])
    return f"blk.{layer}.{LAYERS[projection]}.weight.lora_{half.lower()}", values


def _interleaved(values: Any, heads: int) -> Any:
    """Of Llama and Mistral, llama.cpp rotates neighbouring pairs of a head where transformers rotates its halves."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
