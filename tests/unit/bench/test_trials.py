"""What the bench of trials draws and counts."""

from __future__ import annotations

from bench.trials import measured, shown
from services.optimizer.pipeline.trying_out import ENOUGH_PAIRS


def test_what_finds_nothing_is_ended_each_time_and_soon_and_what_changes_nothing_is_not() -> None:
    lost, nothing = measured(1.0, 5), measured(0.0, 5)
    assert (lost.ended, nothing.ended, nothing.pairs) == (1.0, 0.0, None)
    assert lost.pairs is not None
    assert lost.pairs < ENOUGH_PAIRS / 2
    assert "one turn a conversation" in shown([lost, nothing])
