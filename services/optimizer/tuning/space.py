"""Within which bounds a search for recall weights moves, and what of a proposal from elsewhere is let in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.runtime_settings import RecallWeights

KEY = "recall_weights"
Point = dict[str, float]
"""By weight."""
_LARGEST = 2.0
BOUNDS: dict[str, tuple[float, float]] = dict.fromkeys(RecallWeights.model_fields, (0.0, _LARGEST)) | {
    "asks": (-1.0, 0.5),
    "repetition": (0.0, 1.0),
}
"""Only their relation counts, so that ten times as much is no other setting; what the contract takes is wider."""


def point_of(weights: RecallWeights) -> Point:
    """The weights within the bounds of a search: where one lies outside, all are made smaller, which ranks the same."""
    given = {name: float(value) for name, value in weights}
    outside = max(_beyond(value, BOUNDS[name]) for name, value in given.items() if name != "repetition")
    if outside <= 1.0:
        return given
    return {name: value if name == "repetition" else value / outside for name, value in given.items()}


def _beyond(value: float, bounds: tuple[float, float]) -> float:
    """How many times as far from 0 as the bound on its side; of 0 itself 0."""
    low, high = bounds
    return value / high if value >= 0 else value / low


def weights_of(point: Mapping[str, float]) -> RecallWeights:
    """Raises ValidationError where the contract doesn't take them."""
    return RecallWeights(**{name: float(value) for name, value in point.items()})


def admitted(value: Any) -> Point | None:
    """What another claims to be good weights, as a point to try; None where it is none, whatever it claims.

    Every weight is there, is a number, and lies where a search would look: nothing outside has to be evaluated.
    """
    if not isinstance(value, Mapping) or set(value) != set(BOUNDS):
        return None
    try:
        point = {name: float(weight) for name, weight in RecallWeights(**value)}
    except (ValidationError, TypeError):
        return None
    inside = all(low <= point[name] <= high for name, (low, high) in BOUNDS.items())
    return point if inside else None


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """0..1: the mean share of its range by which a weight was moved."""
    moved = [abs(one[name] - other[name]) / (high - low) for name, (low, high) in BOUNDS.items()]
    return sum(moved) / len(moved)
