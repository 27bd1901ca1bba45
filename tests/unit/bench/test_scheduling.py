"""The simulated fleet: the same seed gives the same run, nothing gets lost in it, and age of telemetry costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.scheduling.boards import fleet
from bench.scheduling.choosers import NAMES
from bench.scheduling.simulation import Conditions, Event, Outcome, Simulation
from bench.scheduling.workload import Shape, arrivals
from libs.shared.contracts.runtime_settings import RuntimeSettings

BOARDS = fleet(8)
REQUESTS = arrivals(BOARDS, 0.6, 250, 1)
OURS = "expected_completion"


def run(policy: str, conditions: Conditions | None = None) -> Outcome:
    return Simulation(BOARDS, policy, conditions or Conditions(), 1).run(REQUESTS)


@pytest.mark.parametrize("policy", NAMES)
def test_every_request_is_answered_once(policy: str) -> None:
    found = run(policy)
    assert sorted(found.answered) == [request.number for request in REQUESTS]
    assert sum(found.places.values()) == len(REQUESTS)
    assert not found.failed


def test_a_run_is_the_same_by_its_seed() -> None:
    conditions = Conditions(schedulers=3, lost=0.2, jitter_s=3.0)
    assert run(OURS, conditions) == run(OURS, conditions)


def test_no_answer_is_quicker_than_its_work_on_the_fastest_board() -> None:
    quickest = [min(r.prompt_tokens / b.read_per_s + r.answer_tokens / b.write_per_s for b in BOARDS) for r in REQUESTS]
    found = run("clairvoyant").answered
    assert all(found[request.number] >= least - 1e-6 for request, least in zip(REQUESTS, quickest, strict=True))


def test_what_a_dead_node_had_is_answered_by_another() -> None:
    found = run(OURS, Conditions(age_s=1.0, events=(Event(100.0, 2, 0.0), Event(400.0, 2, None))))
    assert len(found.answered) == len(REQUESTS)


def test_telemetry_that_never_comes_costs_what_it_tells() -> None:
    fresh = Conditions(age_s=0.1)
    assert run(OURS, fresh).percentile(0.95) < run(OURS, replace(fresh, age_s=400.0)).percentile(0.95)


def test_second_copies_answer_once_and_stay_within_their_share() -> None:
    boards = fleet(8)
    coming = arrivals(boards, 0.4, 600, 3, Shape(max_tokens=128, prompt_median=300.0))
    slow = tuple(Event(at, 2, speed) for start in (100.0, 400.0) for at, speed in ((start, 0.1), (start + 100.0, 1.0)))
    settings = RuntimeSettings(hedging=True)
    simulation = Simulation(boards, "expected_completion", Conditions(1, 1.0, 1.0, events=slow, settings=settings), 3)
    outcome = simulation.run(coming)
    assert sorted(outcome.answered) == list(range(600))
    counts = simulation.copies.counts
    assert counts["won"] > 0
    assert counts["won"] + counts.get("lost", 0) == counts["sent"] <= 0.05 * 600
    assert sum(node.load() for node in simulation.nodes) == 0
