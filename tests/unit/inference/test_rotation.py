"""Endpoints take turns; one that fails, or asks for time, is passed over for as long as that takes."""

from __future__ import annotations

from libs.shared.errors import BackendFailed, ContextExceeded, Overloaded
from services.inference.backends import rotation
from services.inference.backends.rotation import RULES, Standing

NOW = 100.0
BROKEN = BackendFailed("", reason="upstream_error")


def three(**changed: Standing) -> dict[int, Standing]:
    return {n: changed.get(f"number_{n}", Standing(slots=2)) for n in (1, 2, 3)}


def after_failures(count: int) -> Standing:
    standing = Standing(slots=2)
    for _ in range(count):
        standing = rotation.failed(standing, BROKEN, NOW)
    return standing


def test_each_has_its_turn() -> None:
    assert rotation.order(three(), 0, NOW) == [1, 2, 3]
    assert rotation.order(three(), 1, NOW) == [2, 3, 1]
    assert rotation.order(three(), 3, NOW) == [1, 2, 3]


def test_a_full_one_comes_last_even_at_its_turn() -> None:
    assert rotation.order(three(number_2=Standing(slots=2, in_flight=2)), 1, NOW) == [3, 1, 2]


def test_one_whose_breaker_is_open_is_passed_over_until_its_probe() -> None:
    broken = after_failures(RULES.threshold)
    assert rotation.order(three(number_2=broken), 1, NOW) == [3, 1]
    later = NOW + RULES.first_open_s
    assert rotation.order(three(number_2=broken), 1, later) == [2, 3, 1]
    assert rotation.order(three(number_2=rotation.begun(broken, later)), 1, later) == [3, 1]


def test_one_that_asks_for_time_is_left_alone_so_long_and_its_breaker_stays_closed() -> None:
    resting = Standing(slots=2)
    for _ in range(RULES.threshold):
        resting = rotation.failed(resting, Overloaded("", retry_after_s=60.0), NOW)
    assert not resting.open_at(NOW + 59.9)
    assert resting.open_at(NOW + 60.0)
    assert rotation.next_change(three(number_1=resting), NOW) == NOW + 60.0


def test_a_shorter_wait_does_not_cut_a_longer_one() -> None:
    resting = rotation.failed(Standing(slots=1), Overloaded("", retry_after_s=60.0), NOW)
    assert rotation.failed(resting, Overloaded("", retry_after_s=1.0), NOW).paused_until == NOW + 60.0


def test_what_is_wrong_with_the_request_counts_against_no_endpoint() -> None:
    standing = Standing(slots=2)
    for error in (ContextExceeded(""), BackendFailed("", reason="upstream_refused")):
        assert not rotation.is_of_the_endpoint(error)
        assert rotation.failed(standing, error, NOW) == standing


def test_capacity_is_that_of_those_that_may_be_asked() -> None:
    assert rotation.capacity(three(), NOW) == 6
    assert rotation.capacity(three(number_3=after_failures(RULES.threshold)), NOW) == 4
    assert rotation.capacity({}, NOW) == 1


def test_the_wait_is_that_for_the_first_of_them() -> None:
    resting = rotation.failed(Standing(slots=2), Overloaded("", retry_after_s=60.0), NOW)
    assert rotation.wait_s({1: resting, 2: after_failures(RULES.threshold)}, NOW) == RULES.first_open_s
    assert rotation.wait_s({1: resting}, NOW) == 60.0


def test_a_probe_of_which_nothing_is_heard_is_not_waited_for_for_ever() -> None:
    later = NOW + RULES.first_open_s
    probed = rotation.begun(after_failures(RULES.threshold), later)
    assert probed.opens_at(later) == later + RULES.probe_s
    assert probed.open_at(later + RULES.probe_s)
