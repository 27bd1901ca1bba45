"""Circuit breakers as values: whether a place that failed some requests may be given more.

Closed → open after ``threshold`` failures in a row, each within ``window_s`` of the one before; open → half-open when
its time is over; half-open lets one probe through. A failed probe opens it again for twice as long (Nygard, *Release
It!*, ch. 5). A probe's success closes the breaker, and so does hearing nothing bad of it for ``probe_s``: words get
lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True)
class BreakerRules:
    """How patient a breaker is; times in seconds."""

    threshold: int = 3
    window_s: float = 30.0
    first_open_s: float = 2.0
    longest_open_s: float = 15.0
    probe_s: float = 10.0


@dataclass(frozen=True)
class Breaker:
    """One record, as a replica's with one model. The default is closed and spotless; clocks are monotonic seconds."""

    failures: int = 0
    last_failure: float = 0.0
    open_until: float = 0.0
    """0 while closed."""
    open_s: float = 0.0
    """How long it was opened the last time."""
    probe_since: float | None = None


CLOSED = Breaker()


def state(breaker: Breaker, now: float, rules: BreakerRules) -> State:
    """What the breaker is at ``now``."""
    if not breaker.open_until:
        return "closed"
    if now < breaker.open_until:
        return "open"
    probed_well = breaker.probe_since is not None and now - breaker.probe_since >= rules.probe_s
    return "closed" if probed_well else "half_open"


def allows(breaker: Breaker, now: float, rules: BreakerRules) -> bool:
    """Whether a request may go there: always when closed, once when half-open."""
    seen = state(breaker, now, rules)
    return seen == "closed" or (seen == "half_open" and breaker.probe_since is None)


def probed(breaker: Breaker, now: float, rules: BreakerRules) -> Breaker:
    """The breaker after a request was sent; only a half-open one takes note."""
    if state(breaker, now, rules) != "half_open" or breaker.probe_since is not None:
        return breaker
    return replace(breaker, probe_since=now)


def failed(breaker: Breaker, now: float, rules: BreakerRules) -> Breaker:
    """The breaker after a failure was reported."""
    seen = state(breaker, now, rules)
    if seen == "open":
        return replace(breaker, last_failure=now)
    if seen == "half_open":
        open_s = min(breaker.open_s * 2, rules.longest_open_s)
        return Breaker(breaker.failures + 1, now, now + open_s, open_s)
    recent = not breaker.open_until and now - breaker.last_failure <= rules.window_s
    failures = breaker.failures + 1 if recent and breaker.failures else 1
    if failures < rules.threshold:
        return Breaker(failures, now)
    return Breaker(failures, now, now + rules.first_open_s, rules.first_open_s)


def succeeded(_: Breaker) -> Breaker:
    """The breaker after a success was reported: as new."""
    return CLOSED
