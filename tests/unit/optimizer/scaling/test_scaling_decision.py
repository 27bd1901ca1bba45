"""How many workers there should be: within bounds, rested, never against an autoscaler, never beyond the memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.optimizer.scaling import deciding
from services.optimizer.scaling.base import Bounds, Count, read_bounds
from services.optimizer.scaling.deciding import (
    FEWER_AFTER_S,
    FEWER_REST_S,
    LOOK_EVERY_S,
    MORE_AFTER_S,
    MORE_REST_S,
    UNDONE_REST_S,
    Decision,
    Load,
    Room,
    Standing,
    decide,
)

NOW = 10_000.0
PLENTY = Room(64)
NEVER = Standing()


def lasting(busy: float, seconds: float = FEWER_AFTER_S, *, waits: bool = False) -> tuple[Load, ...]:
    """As busy at each look of so long, until now."""
    looks = int(seconds / LOOK_EVERY_S) + 2
    return tuple(Load(NOW - number * LOOK_EVERY_S, busy, waits) for number in range(looks))[::-1]


def count(wanted: int, *, running: int | None = None, least: int = 1, most: int = 4, autoscaled: bool = False) -> Count:
    return Count(wanted if running is None else running, wanted, least, most, autoscaled)


def test_one_that_is_used_up_for_a_while_gets_another() -> None:
    found = decide(count(1), lasting(0.95, MORE_AFTER_S), PLENTY, NEVER, NOW)
    assert (found.count, found.reason) == (2, "used to 95% for 15 s: 2 instead of 1")


def test_a_moment_of_haste_is_no_reason() -> None:
    loads = (*lasting(0.3, MORE_AFTER_S)[:-1], Load(NOW, 1.0))
    assert decide(count(1), loads, PLENTY, NEVER, NOW).count == 1


def test_requests_that_wait_are_a_reason_whatever_is_used() -> None:
    assert decide(count(1), lasting(0.2, MORE_AFTER_S, waits=True), PLENTY, NEVER, NOW).count == 2


def test_two_that_one_could_do_the_work_of_become_one() -> None:
    found = decide(count(2), lasting(0.2), PLENTY, NEVER, NOW)
    assert (found.count, found.reason) == (1, "used to 20% at most for 5 minutes: 1 instead of 2")


def test_one_busy_look_within_five_minutes_keeps_them() -> None:
    loads = (*lasting(0.1)[:5], Load(NOW - FEWER_AFTER_S / 2, 0.6), *lasting(0.1)[-25:])
    assert decide(count(2), loads, PLENTY, NEVER, NOW).count == 2


def test_a_load_that_is_hardly_known_changes_nothing() -> None:
    assert decide(count(2), lasting(0.0, 60.0), PLENTY, NEVER, NOW).count == 2
    assert decide(count(1), (Load(NOW, 1.0),), PLENTY, NEVER, NOW).count == 1
    assert decide(count(1), (), PLENTY, NEVER, NOW).count == 1


@pytest.mark.parametrize(
    ("standing", "grows"),
    [
        (Standing(NOW - MORE_REST_S + 1), False),
        (Standing(NOW - MORE_REST_S - 1), True),
        (Standing(NOW - UNDONE_REST_S + 1, undone=True), False),
        (Standing(NOW - UNDONE_REST_S - 1, undone=True), True),
    ],
)
def test_after_a_change_it_rests_and_longer_after_one_that_was_undone(standing: Standing, *, grows: bool) -> None:
    found = decide(count(1), lasting(1.0), PLENTY, standing, NOW)
    assert (found.count == 2) is grows
    assert grows or "in 1 s" in found.reason


def test_fewer_rest_for_longer_than_more() -> None:
    assert decide(count(2), lasting(0.1), PLENTY, Standing(NOW - FEWER_REST_S + 1), NOW).count == 2
    assert decide(count(2), lasting(0.1), PLENTY, Standing(NOW - FEWER_REST_S - 1), NOW).count == 1


def test_no_more_are_asked_for_while_what_was_asked_for_is_not_there() -> None:
    found = decide(count(2, running=1), lasting(1.0), PLENTY, NEVER, NOW)
    assert (found.count, found.reason) == (2, "1 of 2 run: what was asked for isn't there yet")


def test_what_the_memory_does_not_carry_is_not_begun_and_it_says_so() -> None:
    found = decide(count(1), lasting(1.0), Room(0, "there is no memory for another"), NEVER, NOW)
    assert (found.count, "there is no memory for another" in found.reason) == (1, True)


def test_fewer_than_the_least_is_somebodys_wish_until_somebody_finds_nobody() -> None:
    assert decide(count(0), (), PLENTY, NEVER, NOW).count == 0
    assert decide(count(0), (Load(NOW - 5, 1.0, waits=True),), PLENTY, NEVER, NOW).count == 1
    assert decide(count(0), (Load(NOW - 60, 1.0, waits=True),), PLENTY, NEVER, NOW).count == 0


COUNTS = st.builds(
    lambda least, more, wanted, lacking, autoscaled: Count(
        max(0, wanted - lacking), wanted, least, least + more, autoscaled
    ),
    st.integers(1, 5),
    st.integers(0, 8),
    st.integers(0, 20),
    st.integers(0, 2),
    st.booleans(),
)
LOADS = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80).map(
    lambda told: tuple(Load(NOW - at * LOOK_EVERY_S, busy, waits) for at, (busy, waits) in enumerate(told))[::-1]
)
ROOMS = st.builds(Room, st.integers(0, 10), st.just("full"))
STANDINGS = st.builds(Standing, st.none() | st.floats(0, NOW), st.booleans())


def breaks(found: Decision, now: Count, room: Room, standing: Standing) -> str | None:
    """Which guarantee a decision breaks."""
    changes = found.count != now.wanted
    rested = standing.changed_s is None or NOW - standing.changed_s >= MORE_REST_S
    if changes and now.autoscaled:
        return "autoscaler"
    if changes and not now.least <= found.count <= now.most:
        return "bounds"
    if found.count > max(now.wanted, now.least) and found.count - now.wanted > room.workers:
        return "memory"
    if changes and now.least <= now.wanted <= now.most and not rested:
        return "rest"
    return None if found.reason else "reason"


@given(COUNTS, LOADS, ROOMS, STANDINGS)
def test_whatever_the_load_bounds_rest_memory_and_autoscalers_hold(
    now: Count, loads: tuple[Load, ...], room: Room, standing: Standing
) -> None:
    assert breaks(decide(now, loads, room, standing, NOW), now, room, standing) is None


MUTATIONS = {
    "autoscaler": (count(1, autoscaled=True), PLENTY, NEVER),
    "bounds": (count(4), PLENTY, NEVER),
    "memory": (count(1), Room(0, "full"), NEVER),
    "rest": (count(1), PLENTY, Standing(NOW - 1)),
}


@pytest.mark.parametrize("guarantee", MUTATIONS)
def test_the_property_notices_a_decision_without_that_guarantee(guarantee: str) -> None:
    now, room, standing = MUTATIONS[guarantee]
    careless = Decision(now.wanted + 1, "the load asks for it")
    assert breaks(careless, now, room, standing) == guarantee
    assert breaks(decide(now, lasting(1.0), room, standing, NOW), now, room, standing) is None


def test_without_its_rest_a_count_would_change_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_rested", lambda count, found, standing, now_s, rest_s: found)
    now, room, standing = MUTATIONS["rest"]
    assert breaks(decide(now, lasting(1.0), room, standing, NOW), now, room, standing) == "rest"


@given(st.floats(0.1, 8), st.integers(1, 10))
def test_what_has_just_grown_is_not_shrunk_by_the_same_load(used: float, wanted: int) -> None:
    """``used``: workers' worth."""
    grown = decide(count(wanted, most=64), lasting(used / wanted), PLENTY, NEVER, NOW)
    if grown.count > wanted and grown.count <= math.ceil(used / deciding.AIM):
        after = decide(count(grown.count, most=64), lasting(used / grown.count), PLENTY, NEVER, NOW)
        assert after.count >= grown.count


def test_bounds_are_read_as_they_are_written() -> None:
    assert read_bounds(("cognition=1-4", "inference-gpu=2-2")) == {
        "cognition": Bounds(1, 4),
        "inference-gpu": Bounds(2, 2),
    }


@pytest.mark.parametrize(
    "word", ["cognition", "cognition=0-4", "cognition=3-2", "cognition=1-99", "Cognition=1-2", "a=1"]
)
def test_bounds_that_make_no_sense_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=LEAST-MOST|least <= most"):
        read_bounds((word,))
