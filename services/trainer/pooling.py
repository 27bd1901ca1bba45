"""One vector for a text: the mean of its real tokens' representations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from services.trainer.masking import padded


def mean(states: Tensor, kept: Tensor) -> Tensor:
    """Rows x width from rows x tokens x width; a token counts where ``kept`` is 1, whatever stands elsewhere."""
    weights = kept.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def embed(model: Any, rows: Sequence[list[int]], *, padding: int, batch: int = 64) -> Tensor:
    """Rows x width in float32 on the processor: one vector for each list of tokens, in evaluation mode."""
    was_training = model.training
    model.eval()
    # Rows of like length are read together; their order is restored at the end.
    by_length = sorted(range(len(rows)), key=lambda at: len(rows[at]))
    found: dict[int, Tensor] = {}
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            chosen = by_length[start : start + batch]
            ids, kept = (torch.from_numpy(one).to(model.device) for one in padded((rows[at] for at in chosen), padding))
            states = model.base_model(input_ids=ids, attention_mask=kept).last_hidden_state
            vectors = mean(states.float(), kept).cpu()
            found.update(zip(chosen, vectors, strict=True))
    model.train(was_training)
    return torch.stack([found[at] for at in range(len(rows))])
