"""Low-rank adapters on every projection of a decoder, by peft."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch

from libs.shared.errors import AdapterBroken
from services.trainer.configuration import Lora

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear map of a layer in the supported families; the published script names the same seven."""

Parameters = dict[str, torch.nn.Parameter]


def attach(model: Any, lora: Lora, *, seed: int) -> Any:
    """A peft model around ``model``, whose own weights are frozen from now on; ``model`` itself computes with it too.

    The adapter is the same for the same seed, and changes nothing until it was trained. It is kept in float32 whatever
    the weights are in: steps of AdamW are too small for bfloat16 to add.
    """
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(PROJECTIONS), bias="none"
    )
    with warnings.catch_warnings():
        # peft 0.21 asks for a name that transformers 5 calls otherwise.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = peft.get_peft_model(model, config, autocast_adapter_dtype=True)
    modules: list[Any] = list(adapted.modules())
    for module in modules:
        if hasattr(module, "cast_input_dtype_enabled"):
            # Else each layer's input is first made float32, only for autocast to make it bfloat16 again.
            module.cast_input_dtype_enabled = model.dtype is torch.float32
    return adapted


def loaded(model: Any, folder: Path) -> Any:
    """A peft model around ``model``, with the adapter that lies in ``folder``; it isn't trained further.

    Raises AdapterBroken.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return peft.PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise AdapterBroken(
            f"{folder.name} can't be put around its model as peft writes an adapter ({type(error).__name__})"
        ) from error


def trainable(model: Any) -> Parameters:
    """Name → parameter, in a stable order."""
    return {name: parameter for name, parameter in sorted(model.named_parameters()) if parameter.requires_grad}


def merged(adapted: Any) -> Any:
    """The model with its adapter added into its weights, and nothing of peft left around it."""
    return adapted.merge_and_unload()
