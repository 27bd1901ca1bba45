"""When the installation may sleep: never while somebody waits, and without falling asleep and waking by turns."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.optimizer.idleness import deciding
from services.optimizer.idleness.deciding import Decision, Limits, Reading, Readings, State, decide
from services.optimizer.idleness.forecast import Forecast
from services.optimizer.idleness.hours import Hours

NOON = datetime(2026, 5, 4, 12, 0)
UNKNOWN = Forecast(None)
HERE = Reading("here", True)
QUIET = Readings((HERE,), quiet_s=1000.0)
LIMITS = Limits()


AWAKE = State()


def look(
    readings: Readings,
    state: State = AWAKE,
    now: float = 0.0,
    limits: Limits = LIMITS,
    forecast: Forecast = UNKNOWN,
) -> Decision:
    return decide(now, NOON, readings, forecast, state, limits)


def with_node(**about: object) -> Readings:
    return replace(QUIET, nodes=(replace(HERE, **about),))  # type: ignore[arg-type]


def test_a_quiet_installation_is_idle_without_a_reason() -> None:
    decision = look(QUIET)
    assert (decision.idle, decision.reasons, decision.state.asleep) == (True, (), True)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        (replace(QUIET, quiet_s=299.0), "recent_request"),
        (with_node(in_flight=1), "request_in_flight"),
        (with_node(queued=1), "request_in_flight"),
        (replace(QUIET, nodes=(HERE, Reading("elsewhere", False, in_flight=1))), "request_in_flight"),
        (with_node(cpu_others=0.31), "busy"),
        (with_node(temperature_c=75.0), "hot"),
        (with_node(throttled=True), "throttled"),
        (with_node(on_battery=True, battery_share=0.9), "on_battery"),
    ],
)
def test_each_reason_keeps_it_awake_and_is_named(readings: Readings, reason: str) -> None:
    decision = look(readings)
    assert (decision.idle, decision.reasons) == (False, (reason,))


def test_another_nodes_heat_and_load_are_no_reason() -> None:
    assert look(replace(QUIET, nodes=(HERE, Reading("b", False, cpu_others=1.0, temperature_c=90.0)))).idle


def test_a_limit_of_power_and_of_the_battery_holds_where_it_is_set() -> None:
    assert look(with_node(power_w=30.0), limits=replace(LIMITS, power_w=25.0)).reasons == ("over_power_limit",)
    allowed = replace(LIMITS, on_battery=True)
    assert look(with_node(on_battery=True, battery_share=0.6), limits=allowed).idle
    assert look(with_node(on_battery=True, battery_share=0.4), limits=allowed).reasons == ("on_battery",)


def test_hours_are_kept() -> None:
    night = Hours.read("22:00-07:00")
    assert look(QUIET, limits=replace(LIMITS, only=night)).reasons == ("outside_hours",)
    assert look(QUIET, limits=replace(LIMITS, never=Hours.read("11:00-13:00"))).reasons == ("quiet_hours",)
    assert look(QUIET, limits=replace(LIMITS, never=night)).idle


def test_it_does_not_begin_where_somebody_usually_comes_soon_and_goes_on_all_the_same() -> None:
    soon = Forecast(120.0)
    assert look(QUIET, forecast=soon).reasons == ("visit_expected",)
    assert look(QUIET, State(asleep=True), forecast=soon).idle
    assert look(QUIET, forecast=Forecast(3600.0)).expected_quiet_s == 3600.0


def test_one_request_pauses_it_for_a_moment_and_does_not_wake_it() -> None:
    paused = look(with_node(in_flight=1), State(asleep=True), now=10.0)
    assert (paused.idle, paused.state.asleep) == (False, True)
    after = look(replace(QUIET, quiet_s=0.5, recent_requests=1), paused.state, now=11.0)
    assert (after.idle, after.reasons) == (False, ("recent_request",))
    assert after.next_look_s == pytest.approx(LIMITS.resume_s - 0.5)
    assert look(replace(QUIET, quiet_s=2.5, recent_requests=1), after.state, now=13.0).idle


def test_many_requests_wake_it() -> None:
    decision = look(replace(QUIET, quiet_s=1.0, recent_requests=5), State(asleep=True))
    assert (decision.idle, decision.state.asleep) == (False, False)
    assert "many_requests" in decision.reasons


def test_what_lasts_wakes_it_and_what_passes_does_not() -> None:
    busy, state, now = with_node(cpu_others=0.7), State(asleep=True), 0.0
    for now in (0.0, 30.0, 59.0):
        state = look(busy, state, now).state
        assert state.asleep
    assert look(QUIET, state, 59.5).state.troubled_since is None
    assert not look(busy, state, 61.0).state.asleep


def check_heat_has_two_thresholds() -> None:
    hot = look(with_node(temperature_c=76.0), State(asleep=True))
    assert hot.reasons == ("hot",)
    assert look(with_node(temperature_c=70.0), hot.state).reasons == ("hot",)
    cool = look(with_node(temperature_c=64.0), hot.state)
    assert cool.idle
    assert look(with_node(temperature_c=70.0), cool.state).idle


def test_a_hot_machine_rests_until_it_is_cool() -> None:
    check_heat_has_two_thresholds()


def test_without_hysteresis_of_heat_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_hot", lambda here, _was, limits: (here[0].temperature_c or 0.0) >= limits.hot_c)
    with pytest.raises(AssertionError):
        check_heat_has_two_thresholds()


def changes_of(uses: list[float], limits: Limits) -> int:
    """How often it fell asleep or woke while the processors were used like that, a look a second."""
    state, changes = State(), 0
    for second, use in enumerate(uses):
        found = look(with_node(cpu_others=use), state, float(second), limits).state
        changes += found.asleep is not state.asleep
        state = found
    return changes


def check_it_does_not_flap() -> None:
    swinging = [0.29 if second % 2 else 0.59 for second in range(600)]
    assert changes_of(swinging, LIMITS) <= 1


def test_load_that_swings_between_the_thresholds_does_not_wake_it_by_turns() -> None:
    check_it_does_not_flap()


def test_with_one_threshold_it_would_flap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.LIMITS", replace(LIMITS, cpu_leave=LIMITS.cpu_enter, leave_s=0.0))
    with pytest.raises(AssertionError):
        check_it_does_not_flap()


nodes = st.builds(
    Reading,
    node_id=st.sampled_from(["a", "b", "here"]),
    here=st.booleans(),
    in_flight=st.integers(0, 2),
    queued=st.integers(0, 2),
    cpu_others=st.floats(0, 1),
    temperature_c=st.none() | st.floats(0, 110),
    throttled=st.booleans(),
    on_battery=st.booleans(),
    battery_share=st.none() | st.floats(0, 1),
    power_w=st.none() | st.floats(0, 100),
)
readings = st.builds(
    Readings,
    nodes=st.lists(nodes, max_size=4).map(tuple),
    quiet_s=st.floats(0, 10_000),
    recent_requests=st.integers(0, 20),
)
states = st.builds(State, asleep=st.booleans(), troubled_since=st.none() | st.floats(0, 100), hot=st.booleans())


@given(readings, states, st.floats(0, 200), st.none() | st.floats(0, 10_000))
def test_it_is_never_idle_while_a_request_is_in_flight_anywhere(
    found: Readings, state: State, now: float, quiet_s: float | None
) -> None:
    decision = look(found, state, now, forecast=Forecast(quiet_s))
    if any(node.in_flight or node.queued for node in found.nodes):
        assert not decision.idle
        assert "request_in_flight" in decision.reasons
    assert decision.idle is not bool(decision.reasons), "whatever isn't idle has a reason, and nothing else"
    assert 0.0 < decision.next_look_s <= deciding.LONGEST_LOOK_S


@given(st.lists(st.tuples(st.floats(0.1, 120.0), st.booleans()), max_size=60))
def test_it_falls_asleep_no_more_often_than_the_quiet_that_it_needs(steps: list[tuple[float, bool]]) -> None:
    state, now, last, requests, slept = State(), 0.0, 0.0, list[float](), 0
    for passed_s, request in steps:
        now += passed_s
        if request:
            last = now
            requests.append(now)
        recent = sum(now - at < deciding.WINDOW_S for at in requests)
        decision = look(Readings((HERE,), now - last, recent), state, now)
        slept += decision.state.asleep and not state.asleep
        state = decision.state
    assert slept <= now / LIMITS.enter_s
