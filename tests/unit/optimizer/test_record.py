"""Cycles over restarts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from libs.shared.contracts.sleep import Cycle, CycleState, Phase, PhaseOutcome, PhaseState
from services.optimizer.record import MOST_CYCLES, Record


def cycle(number: int, state: CycleState = CycleState.DONE, of: PhaseState = PhaseState.DONE) -> Cycle:
    return Cycle(
        cycle_id=f"c{number}",
        state=state,
        begun_at=datetime(2026, 5, 4, tzinfo=UTC),
        phases=(PhaseOutcome(phase=Phase.LIGHT, state=of), PhaseOutcome(phase=Phase.DEEP, state=of)),
    )


def test_the_newest_cycles_are_kept_and_no_more(tmp_path: Path) -> None:
    record = Record(tmp_path / "cycles.json")
    for number in range(MOST_CYCLES + 3):
        record.keep(cycle(number))
    again = Record(tmp_path / "cycles.json")
    assert (len(again.cycles), again.cycles[0].cycle_id) == (MOST_CYCLES, f"c{MOST_CYCLES + 2}")


def test_a_cycle_that_was_under_way_was_interrupted(tmp_path: Path) -> None:
    Record(tmp_path / "cycles.json").keep(cycle(1, CycleState.RUNNING, PhaseState.RUNNING))
    again = Record(tmp_path / "cycles.json")
    assert again.cycles[0].state is CycleState.INTERRUPTED
    assert again.last_phases == (Phase.LIGHT, Phase.DEEP)


def test_what_answers_cost_is_split_at_the_last_cycle_with_changes(tmp_path: Path) -> None:
    record = Record(tmp_path / "cycles.json")
    record.answered(60.0, 30)
    record.begin_anew()
    record.answered(20.0, 20)
    record.save()
    again = Record(tmp_path / "cycles.json")
    assert (again.before.each_j, again.since.each_j) == (2.0, 1.0)
    again.answered(0.0, 0)
    again.begin_anew()
    assert again.before.answers == 20
