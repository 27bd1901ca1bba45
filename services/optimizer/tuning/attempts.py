"""Attempts: what is kept of a search."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from services.optimizer.tuning.space import Point


class Attempt(BaseModel):
    """A point that was tried: what is kept of it, and all that a search needs to go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: Point
    value: float
    pruned: bool = False
    """It was given up after a part of the questions; ``value`` is of that part."""


def best_of(tried: Sequence[Attempt]) -> Attempt | None:
    """The first of the best that were measured on every question."""
    return max((one for one in tried if not one.pruned), key=lambda one: one.value, default=None)
