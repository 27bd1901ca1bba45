"""What a router inside Ray Serve learns of replicas from the requests that it sends there."""

from __future__ import annotations

import pytest

from services.scheduler.policies import Ask, expected_completion
from services.scheduler.serve_beliefs import FIRST_S, FORGET_S, Belief, best_of


def learnt(seconds: float, requests: int = 30) -> Belief:
    """A replica of one slot that took so long for each of its requests, one after the other."""
    belief, now = Belief(), 0.0
    for number in range(requests):
        belief.sent(number, now)
        now += seconds
        belief.ended(number, now)
    return belief


def test_how_long_requests_take_is_learnt_from_their_ends() -> None:
    assert learnt(0.2).usual_s == pytest.approx(0.2)
    assert best_of([learnt(0.2), learnt(0.02), Belief()]) == pytest.approx(0.02)
    assert best_of([Belief()]) == FIRST_S


def test_waiting_behind_others_makes_no_replica_slow() -> None:
    belief = Belief()
    for number in range(4):
        belief.sent(number, 0.0)
    for number in range(4):
        belief.ended(number, 0.1 * (number + 1))
    assert belief.usual_s == pytest.approx(0.1)
    assert belief.load == 0


def test_what_was_cut_short_teaches_nothing() -> None:
    belief = learnt(0.2)
    belief.sent("x", 100.0)
    belief.ended("x", 100.001)
    belief.ended("never sent", 100.0)
    belief.sent("y", 100.0)
    belief.ended("y", 100.001)
    assert belief.usual_s == pytest.approx(0.2), "nor what failed at once"


def test_a_busy_fast_replica_goes_before_an_idle_slow_one_until_it_is_too_busy() -> None:
    fast, slow = learnt(0.02), learnt(0.2)
    now = max(fast.learnt_at, slow.learnt_at)

    def taken(busy: int) -> str:
        fast.told({"ongoing": busy, "slots": 1})
        candidates = [belief.candidate(name, 0.02, now) for name, belief in (("fast", fast), ("slow", slow))]
        return expected_completion(candidates, Ask(now, 1, 0), 0.0).replica.replica

    assert [taken(0), taken(2), taken(30)] == ["fast", "fast", "slow"]


def test_a_replica_that_was_slow_is_tried_again_in_time() -> None:
    slow = learnt(0.2)
    assert slow.expected_s(0.02, slow.learnt_at) == pytest.approx(0.2)
    assert slow.expected_s(0.02, slow.learnt_at + 10 * FORGET_S) == pytest.approx(0.02, rel=0.02)


def test_what_a_replica_tells_is_taken_in_once() -> None:
    belief, told = Belief(), {"ongoing": 3, "slots": 2}
    belief.sent("mine", 0.0)
    belief.told(told)
    assert (belief.load, belief.slots) == (3, 2)
    belief.ended("mine", 1.0)
    belief.told(told)
    assert belief.load == 2, "the two of others"
