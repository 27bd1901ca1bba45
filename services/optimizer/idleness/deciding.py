"""Whether the installation may sleep now: load, requests, heat, power, hours, and how long it will stay quiet. Pure.

Two things are decided apart. ``idle``: whether idle work may go on at this moment; a request in flight ends that at
once. ``asleep``: whether it is a quiet time, with hysteresis: it begins after ``enter_s`` without a request and below
the lower thresholds, and ends only when requests come thick or something stays above the upper ones for ``leave_s``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from services.optimizer.idleness.forecast import Forecast
from services.optimizer.idleness.hours import Hours

LOOK_S = 5.0
"""Between two looks while it sleeps, or might begin to."""
LONGEST_LOOK_S = 60.0
WINDOW_S = 300.0
"""Over which requests are counted."""


@dataclass(frozen=True)
class Limits:
    """From the settings. Shares are 0 to 1."""

    enter_s: float = 300.0
    """So long no request may have come before it begins."""
    leave_s: float = 60.0
    """So long something has to stay above the upper threshold before it ends."""
    resume_s: float = 2.0
    """So long after a request idle work rests, once it is asleep."""
    leave_requests: int = 5
    """With so many requests in ``WINDOW_S`` it is no quiet time any more."""
    cpu_enter: float = 0.3
    cpu_leave: float = 0.6
    """Of the processors, used by others than idle work itself."""
    cool_c: float = 65.0
    hot_c: float = 75.0
    on_battery: bool = False
    """Whether it may sleep while a battery is being emptied."""
    battery_share: float = 0.5
    """And down to which charge."""
    power_w: float | None = None
    """A node that draws more rests; None: no limit of its own."""
    least_quiet_s: float = 600.0
    """It begins only where it is likely to stay quiet for so long."""
    only: Hours | None = None
    never: Hours | None = None


@dataclass(frozen=True)
class Reading:
    """One node, as it last told. ``here``: idle work runs on its machine."""

    node_id: str
    here: bool
    in_flight: int = 0
    queued: int = 0
    """Requests for which somebody waits."""
    cpu_others: float = 0.0
    temperature_c: float | None = None
    throttled: bool = False
    on_battery: bool = False
    battery_share: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class Readings:
    """The installation now. ``quiet_s``: since the last request, or since somebody listens for them."""

    nodes: tuple[Reading, ...] = ()
    quiet_s: float = 0.0
    recent_requests: int = 0
    """In the last ``WINDOW_S``."""


@dataclass(frozen=True)
class State:
    """What is remembered from one decision to the next."""

    asleep: bool = False
    troubled_since: float | None = None
    """Since when something has been above the upper threshold."""
    hot: bool = False
    """It was too hot, and isn't cool yet."""


@dataclass(frozen=True)
class Decision:
    """``reasons``: why it isn't idle; empty where it is."""

    idle: bool
    reasons: tuple[str, ...]
    next_look_s: float
    expected_quiet_s: float | None
    state: State


def decide(
    now: float, clock: datetime, readings: Readings, forecast: Forecast, state: State, limits: Limits
) -> Decision:
    """``now``: seconds of a clock that only goes forward; ``clock``: local time."""
    here = [node for node in readings.nodes if node.here]
    hot = _hot(here, state.hot, limits)
    at_once = (*_requests(readings), *_machine(here, hot, limits), *_hours(clock, limits))
    if state.asleep:
        decision = _while_asleep(now, readings, here, at_once, state, limits)
    else:
        decision = _while_awake(readings, here, at_once, forecast, limits)
    state = replace(decision.state, hot=hot)
    return replace(decision, expected_quiet_s=forecast.quiet_s, state=state)


def _while_awake(
    readings: Readings, here: list[Reading], at_once: tuple[str, ...], forecast: Forecast, limits: Limits
) -> Decision:
    reasons = list(at_once)
    if readings.quiet_s < limits.enter_s:
        reasons.append("recent_request")
    if any(node.cpu_others > limits.cpu_enter for node in here):
        reasons.append("busy")
    if forecast.quiet_s is not None and forecast.quiet_s < limits.least_quiet_s:
        reasons.append("visit_expected")
    if reasons:
        left_s = limits.enter_s - readings.quiet_s
        look_s = min(LONGEST_LOOK_S, left_s) if left_s > LOOK_S else LOOK_S
        return Decision(False, tuple(reasons), look_s, None, State())
    return Decision(True, (), LOOK_S, None, State(asleep=True))


def _while_asleep(
    now: float,
    readings: Readings,
    here: list[Reading],
    at_once: tuple[str, ...],
    state: State,
    limits: Limits,
) -> Decision:
    lasting = list(at_once)
    if any(node.cpu_others > limits.cpu_leave for node in here):
        lasting.append("busy")
    if readings.recent_requests >= limits.leave_requests:
        return Decision(False, (*lasting, "many_requests"), LOOK_S, None, State())
    if lasting:
        since = now if state.troubled_since is None else state.troubled_since
        asleep = now - since < limits.leave_s
        after = State(asleep, since if asleep else None)
        return Decision(False, tuple(lasting), min(LOOK_S, limits.resume_s), None, after)
    if readings.quiet_s < limits.resume_s:
        return Decision(False, ("recent_request",), limits.resume_s - readings.quiet_s, None, State(asleep=True))
    return Decision(True, (), LOOK_S, None, State(asleep=True))


def _requests(readings: Readings) -> Iterator[str]:
    if any(node.in_flight or node.queued for node in readings.nodes):
        yield "request_in_flight"


def _hot(here: list[Reading], was: bool, limits: Limits) -> bool:
    told = [node.temperature_c for node in here if node.temperature_c is not None]
    return bool(told) and max(told) >= (limits.cool_c if was else limits.hot_c)


def _machine(here: list[Reading], hot: bool, limits: Limits) -> Iterator[str]:
    if hot:
        yield "hot"
    if any(node.throttled for node in here):
        yield "throttled"
    if any(_drains(node, limits) for node in here):
        yield "on_battery"
    if limits.power_w is not None and any((node.power_w or 0.0) > limits.power_w for node in here):
        yield "over_power_limit"


def _drains(node: Reading, limits: Limits) -> bool:
    if not node.on_battery:
        return False
    return not limits.on_battery or (node.battery_share is not None and node.battery_share < limits.battery_share)


def _hours(clock: datetime, limits: Limits) -> Iterator[str]:
    if limits.only is not None and clock.time() not in limits.only:
        yield "outside_hours"
    if limits.never is not None and clock.time() in limits.never:
        yield "quiet_hours"
