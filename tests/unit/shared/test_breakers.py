"""Breakers open after failures in a row, let one probe through, and close when it went well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.shared import breakers
from libs.shared.breakers import CLOSED, Breaker, BreakerRules

RULES = BreakerRules()


def after_failures(count: int, now: float = 100.0) -> Breaker:
    breaker = CLOSED
    for _ in range(count):
        breaker = breakers.failed(breaker, now, RULES)
    return breaker


def test_a_breaker_opens_at_the_threshold_and_not_before() -> None:
    assert breakers.allows(after_failures(RULES.threshold - 1), 100.0, RULES)
    assert breakers.state(after_failures(RULES.threshold), 100.0, RULES) == "open"
    assert not breakers.allows(after_failures(RULES.threshold), 100.0, RULES)


def test_failures_far_apart_never_open_it() -> None:
    breaker = CLOSED
    for n in range(10):
        breaker = breakers.failed(breaker, n * (RULES.window_s + 1), RULES)
    assert breakers.state(breaker, 10 * RULES.window_s, RULES) == "closed"


def test_half_open_lets_exactly_one_probe_through() -> None:
    opened = after_failures(3)
    later = 100.0 + RULES.first_open_s
    assert breakers.state(opened, later, RULES) == "half_open"
    assert breakers.allows(opened, later, RULES)
    assert not breakers.allows(breakers.probed(opened, later, RULES), later, RULES)


def test_a_failed_probe_opens_it_for_twice_as_long() -> None:
    later = 100.0 + RULES.first_open_s
    again = breakers.failed(breakers.probed(after_failures(3), later, RULES), later, RULES)
    assert again.open_until - later == 2 * RULES.first_open_s


def test_it_never_stays_open_longer_than_the_longest_time() -> None:
    breaker, now = after_failures(3), 100.0
    for _ in range(20):
        now = breaker.open_until
        breaker = breakers.failed(breakers.probed(breaker, now, RULES), now, RULES)
    assert breaker.open_until - now == RULES.longest_open_s


def test_a_probe_of_which_nothing_bad_is_heard_closes_it() -> None:
    later = 100.0 + RULES.first_open_s
    probed = breakers.probed(after_failures(3), later, RULES)
    assert breakers.state(probed, later + RULES.probe_s, RULES) == "closed"
    assert breakers.allows(probed, later + RULES.probe_s, RULES)
    assert breakers.failed(probed, later + RULES.probe_s, RULES).failures == 1


def test_a_success_makes_it_as_new() -> None:
    assert breakers.succeeded(after_failures(3)) == CLOSED


@given(st.lists(st.tuples(st.sampled_from(["fail", "probe", "wait"]), st.floats(0.1, 40)), max_size=40))
def test_an_open_breaker_always_becomes_usable_again(steps: list[tuple[str, float]]) -> None:
    breaker, now = CLOSED, 100.0
    for what, wait_s in steps:
        now += wait_s
        if what == "fail":
            breaker = breakers.failed(breaker, now, RULES)
        elif what == "probe":
            breaker = breakers.probed(breaker, now, RULES)
    assert breakers.allows(breaker, now + RULES.longest_open_s + RULES.probe_s + 1, RULES)
