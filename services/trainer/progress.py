"""What a run says of itself: loss, pace, share of the hardware's peak, time left; and whether it still learns. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bfloat16, from the vendor's data sheets, by a part of the device's name."""
WINDOW = 20
"""Losses that are averaged before they are compared."""
RISE = 1.5
RISE_NATS = 1.0
"""A run whose loss stands above ``RISE`` times its best plus this much has left what it learnt."""


@dataclass(frozen=True)
class Work:
    """A model's size, as far as its arithmetic goes: parameters of its layers, layers, and width."""

    parameters: int
    layers: int
    width: int

    def flops_per_token(self, row_tokens: int) -> float:
        """Of a step with frozen weights: 4N + 12·L·d·s, forward and back through N weights and through attention over
        ``row_tokens`` tokens. N counts neither embeddings nor head, which is computed at hidden tokens alone; so the
        share of the peak that follows is on the low side."""
        return 4.0 * self.parameters + 12.0 * self.layers * self.width * row_tokens


def peak_flops(device_name: str) -> float | None:
    """The peak of a device of that name, when it is known."""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in device_name), None)


@dataclass(frozen=True)
class Progress:
    """Where a run stands after ``step`` of ``steps``."""

    step: int
    steps: int
    loss: float
    """Mean since the last report, in nats."""
    learning_rate: float
    tokens_per_s: float
    mfu: float | None
    """Model FLOP utilisation: 0 to 1; None where the peak isn't known."""
    seconds_left: float


def trouble(losses: Sequence[float], first_step: int = 1) -> str | None:
    """Why a run with those losses, the first of step ``first_step``, must stop; None when it may go on."""
    for at, loss in enumerate(losses):
        if not math.isfinite(loss):
            return f"the loss of step {first_step + at} is {loss}"
    # Counted from the end: the last window is whole, and what doesn't fill one is the oldest.
    means = [fmean(losses[start : start + WINDOW]) for start in range(len(losses) % WINDOW, len(losses), WINDOW)]
    if means and means[-1] > RISE * min(means) + RISE_NATS:
        return f"the loss rose to {means[-1]:.2f} from {min(means):.2f}"
    return None
