"""The retry budget: a share of all requests, never more, and a few for whoever seldom asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.cognition.retry_budget import MOST, RESERVE_PER_S, SHARE, RetryBudget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 2)), max_size=40))
def test_retries_stay_a_share_of_what_was_asked(rounds: list[tuple[int, float]]) -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    asked = tried_again = 0
    for requests, pause_s in rounds:
        clock.now += pause_s
        for _ in range(requests):
            asked += 1
            budget.earn()
            tried_again += budget.spend()
    assert tried_again <= MOST + SHARE * asked + RESERVE_PER_S * clock.now + 1e-6


def test_in_an_outage_most_requests_fail_at_once() -> None:
    budget = RetryBudget(Clock())
    outcomes = []
    for _ in range(1000):
        budget.earn()
        outcomes.append(budget.spend())
    assert 180 <= sum(outcomes[100:]) <= 0.2 * 900 + MOST


def test_whoever_seldom_asks_may_always_try_again() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    while budget.spend():
        pass
    clock.now += 1 / RESERVE_PER_S
    assert budget.spend()
