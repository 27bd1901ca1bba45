"""Before the first step: what a run is known by, and how many rows it computes at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from libs.shared.durable import write_private
from libs.shared.errors import Unsupported
from services.trainer import memory
from services.trainer.configuration import Training
from services.trainer.lora import PROJECTIONS
from services.trainer.memory import Plan
from services.trainer.progress import Work

PLAN_FILE = "plan.json"
SAMPLED = 64
"""Weights of each matrix that a model is told by."""


def work_of(model: Any) -> Work:
    """Parameters of the layers' own projections, layers and width, of a model without an adapter."""
    layers = model.config.num_hidden_layers
    projections = (
        module.weight.numel() for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in PROJECTIONS
    )
    return Work(parameters=sum(projections), layers=layers, width=model.config.hidden_size)


def fingerprint(model: Any) -> str:
    """Tells a model from another by its family, and its parameters' names, shapes and some of their values."""
    digest = hashlib.sha256(str(model.config.model_type).encode())
    for name, parameter in model.named_parameters():
        stride = max(1, parameter.numel() // SAMPLED)
        sample = parameter.detach().reshape(-1)[::stride].float().cpu().numpy()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(np.ascontiguousarray(sample).tobytes())
    return digest.hexdigest()


def data_hash(rows: Any) -> str:
    """Of rows of tokens: a matrix, or lists of unequal length."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.asarray(row, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()


def planned(
    config: Training, model: Any, folder: Path, row_loss: Callable[[], Tensor], *, divisible: bool = True
) -> Plan:
    """How many rows at once: what the folder's run began with, else what memory has room for; checkpointing is then on
    or off in ``model``. ``row_loss`` computes one row as a step would.

    Raises Unsupported for a batch that isn't a multiple of the rows that were asked for, ModelDoesNotFit.
    """
    if config.micro_batch is not None and config.batch % config.micro_batch:
        raise Unsupported(f"a batch of {config.batch} rows doesn't divide into {config.micro_batch} at once")
    path = folder / PLAN_FILE
    if path.exists():
        # Another number of rows at once adds the same gradients up in another order.
        found = Plan(**json.loads(path.read_bytes()))
    else:
        found = _measured(config, model, row_loss, divisible=divisible)
        folder.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(found.__dict__).encode())
    checkpointing(model, found.gradient_checkpointing)
    return found


def checkpointing(model: Any, on: bool) -> None:
    """Whether ``model`` computes activations twice rather than keeping them."""
    if on:
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.activation_checkpointing_disable()


def _measured(config: Training, model: Any, row_loss: Callable[[], Tensor], *, divisible: bool) -> Plan:
    def measure(twice: bool) -> int:
        checkpointing(model, twice)
        return memory.saved_bytes(row_loss)

    return memory.plan(
        config.batch,
        measure=measure,
        free=memory.free_bytes(model.device),
        micro_batch=config.micro_batch,
        gradient_checkpointing=config.gradient_checkpointing,
        divisible=divisible,
    )


def to_device(values: Any, device: torch.device) -> Tensor:
    """A numpy array on ``device``, without waiting for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
