"""How many rows are computed at once: what a forward pass keeps for its way back, measured on one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from libs.shared.errors import ModelDoesNotFit
from services.trainer import free_memory

MIB = 1024 * 1024
HEADROOM = 1.5
"""Times what is kept: the way back holds gradients of activations too, and allocators waste some."""


@dataclass(frozen=True)
class Plan:
    """Rows at once, and whether activations are computed twice to make room."""

    micro_batch: int
    gradient_checkpointing: bool


def saved_bytes(compute: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the way back from ``compute()``, each storage counted once; parameters aren't."""
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not _views_parameter(tensor):
            storage = tensor.untyped_storage()
            # The tensor is held, so that no later storage takes the address.
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = compute()
    size = sum(nbytes for _, nbytes in kept.values())
    del loss
    return size


def _views_parameter(tensor: Tensor) -> bool:
    """Whether it is a weight seen another way (transposed, as a linear map keeps it)."""
    return isinstance(tensor._base, torch.nn.Parameter)


def free_bytes(device: torch.device) -> int:
    """What may still be allocated on ``device``."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(held)
    return free_memory.free_bytes()


def rows_that_fit(batch: int, row_bytes: int, free: int) -> int:
    """The largest divisor of ``batch`` whose rows fit into ``free`` bytes; 0 when not even one does."""
    fitting = (rows for rows in range(batch, 0, -1) if batch % rows == 0 and rows * row_bytes * HEADROOM <= free)
    return next(fitting, 0)


def plan(
    batch: int,
    *,
    measure: Callable[[bool], int],
    free: int,
    micro_batch: int | None = None,
    gradient_checkpointing: bool | None = None,
    divisible: bool = True,
) -> Plan:
    """Rows at once, without computing anything twice if that fits.

    ``measure(checkpointing)`` gives a row's bytes. What the caller has decided stands. A batch that isn't ``divisible``
    is computed whole. Raises ModelDoesNotFit with both figures.
    """
    ways = (False, True) if gradient_checkpointing is None else (gradient_checkpointing,)
    if micro_batch is not None and gradient_checkpointing is not None:
        return Plan(micro_batch, gradient_checkpointing)
    row_bytes = 0
    for checkpointing in ways:
        row_bytes = measure(checkpointing)
        rows = rows_that_fit(batch, row_bytes, free)
        enough = batch if not divisible else micro_batch or 1
        if rows >= enough:
            return Plan(micro_batch or rows, checkpointing)
    needed = row_bytes * HEADROOM * (batch if not divisible else micro_batch or 1)
    raise ModelDoesNotFit(
        f"a step needs {needed / MIB:.0f} MiB and {free / MIB:.0f} MiB are free: use shorter rows or fewer",
        needed_mib=round(needed / MIB),
        available_mib=round(free / MIB),
    )
