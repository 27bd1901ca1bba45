"""The pipeline that drives changes, over any bus, with its own evaluation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from libs.shared.bus.base import Bus
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.optimizer.gate import Gate
from services.optimizer.outside import Outside
from services.optimizer.pipeline.driving import Pipeline
from services.optimizer.pipeline.evaluating import ReplayEvaluation
from services.optimizer.watch.turns import LatestTurns


def pipeline_over(
    bus: Bus,
    turns: LatestTurns,
    in_force: Callable[[], RuntimeSettings] = RuntimeSettings,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Pipeline:
    """A new process' own."""
    return Pipeline(bus, turns, in_force, ReplayEvaluation(bus, Outside(bus, None, Gate(), 1)), clock)
