"""Weights to begin from: the product's own, and some that are bad on purpose."""

from __future__ import annotations

from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings

DEFAULT = RecallWeights()
PRODUCT = "the product's weights"
STARTS = {
    PRODUCT: DEFAULT,
    "all weights 0": RecallWeights(**dict.fromkeys(RecallWeights.model_fields, 0.0)),
    "length first": DEFAULT.model_copy(
        update={"length": 2.0, "terms": 0.1, "meaning": 0.1, "speaker": 0.0, "time": 0.0}
    ),
    "without words": DEFAULT.model_copy(update={"terms": 0.0, "episode_terms": 0.0, "asks": 0.5}),
    "newest and most important": DEFAULT.model_copy(
        update={"strength": 2.0, "importance": 2.0, "terms": 0.2, "meaning": 0.2}
    ),
}


def with_weights(weights: RecallWeights) -> RuntimeSettings:
    """Otherwise as delivered."""
    return RuntimeSettings(recall_weights=weights)
