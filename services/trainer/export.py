"""A trained adapter as the folder that inference reads: peft's two files, whose model it is, and GGUF for llama.cpp."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from services.trainer import gguf_lora
from services.trainer.lora import trainable
from services.trainer.whole import put_folder

ABOUT_FILE = "adapter.json"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
GGUF_FILE = "adapter.gguf"


def save_adapter(adapted: Any, folder: Path, *, base: str, gguf: bool = True) -> Path:
    """``folder``, with the adapter around a peft model in it; ``base`` is the model's name, hub id or path.

    Weights are kept as precisely as the model's own. With ``gguf``, llama.cpp can load it too, for the same model as
    GGUF. A folder of that name is replaced.
    """
    weights = weights_of(adapted)
    files = {
        WEIGHTS_FILE: save(weights, {"format": "pt"}),
        CONFIG_FILE: _json(_config(adapted, base)),
        ABOUT_FILE: _json({"base": base}),
    }
    if gguf:
        files[GGUF_FILE] = _gguf(adapted, weights, base)
    put_folder(folder, files)
    return folder


def weights_of(adapted: Any) -> dict[str, Tensor]:
    """Name as peft writes it → weight on the processor, in the precision of the model's own."""
    dtype = adapted.dtype if adapted.dtype in (torch.bfloat16, torch.float16) else torch.float32
    return {
        name.replace(".default.", "."): parameter.detach().to("cpu", dtype).contiguous()
        for name, parameter in trainable(adapted).items()
    }


def _config(adapted: Any, base: str) -> dict[str, Any]:
    lora = adapted.peft_config["default"]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": sorted(lora.target_modules),
        "bias": "none",
        "inference_mode": True,
    }


def _gguf(adapted: Any, weights: dict[str, Tensor], base: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="mongars-adapter-") as folder:
        path = Path(folder) / GGUF_FILE
        gguf_lora.write(path, weights, adapted.config, alpha=adapted.peft_config["default"].lora_alpha, base=base)
        return path.read_bytes()


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=2, sort_keys=True).encode() + b"\n"
