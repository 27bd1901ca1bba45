"""How long it is likely to stay quiet, from when somebody came in past weeks. Pure.

What is forecast is the beginning of a visit: a request after at least ``VISIT_GAP_S`` without one. (Single requests
come in bursts and are no Poisson process; visits nearly are.) For each of the week's 168 hours, in local time, the
visits that began and the time in which it was quiet and one could have begun are counted, both decaying exponentially
with a half-life of four weeks. Visits are taken for Poisson with a gamma prior: an hour's rate is ``(visits +
k·prior) / (quiet hours + k)``, shrunk by ``k`` hours' worth of evidence towards the rate of that hour on all days,
which is shrunk likewise towards the mean over all hours. To be careful, the rate at the posterior's 80th percentile
is used (Wilson and Hilferty's approximation of the gamma quantile). Along the coming hours these rates add up, and it
is expected to stay quiet until a visit is as likely as not: until their sum reaches ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

HOURS = 168
HOUR_S = 3600.0
VISIT_GAP_S = 300.0
HALF_LIFE_S = 28 * 86_400.0
SHRINK_H = 2.0
"""Hours of evidence that the prior is worth."""
FIRST_RATE = 0.5
"""Visits an hour, before anything was seen; worth ``SHRINK_H`` hours."""
CAUTION_Z = 0.8416
"""The normal distribution's 80th percentile."""
LEAST_SEEN_H = 24.0
"""Less tells nothing of the week."""
FARTHEST_H = 24


@dataclass(frozen=True)
class Weeks:
    """Decayed counts by hour of the week, Monday's first hour being 0."""

    visits: tuple[float, ...] = (0.0,) * HOURS
    quiet_h: tuple[float, ...] = (0.0,) * HOURS
    at_s: float = 0.0
    """Until when it was decayed, in seconds since the epoch."""

    @property
    def known(self) -> bool:
        return sum(self.quiet_h) >= LEAST_SEEN_H


@dataclass(frozen=True)
class Forecast:
    """``quiet_s`` None: too little is known."""

    quiet_s: float | None
    rates: tuple[float, ...] = field(default=(), repr=False)
    """Visits an hour, carefully, by hour of the week."""


def decayed(weeks: Weeks, now_s: float) -> Weeks:
    """As of ``now_s``; a clock that was set back changes nothing."""
    passed = now_s - weeks.at_s
    if weeks.at_s == 0.0 or passed <= 0:
        return Weeks(weeks.visits, weeks.quiet_h, now_s)
    left = 0.5 ** (passed / HALF_LIFE_S)
    return Weeks(tuple(n * left for n in weeks.visits), tuple(h * left for h in weeks.quiet_h), now_s)


def observed(weeks: Weeks, hour: int, now_s: float, *, quiet_s: float = 0.0, visits: int = 0) -> Weeks:
    """With what was seen in ``hour`` of the week since the last time."""
    now = decayed(weeks, now_s)
    return Weeks(
        _added(now.visits, hour, float(visits)), _added(now.quiet_h, hour, max(0.0, quiet_s) / HOUR_S), now.at_s
    )


def forecast(weeks: Weeks, hour: float) -> Forecast:
    """From ``hour`` of the week on, with its fraction."""
    if not weeks.known:
        return Forecast(None)
    rates = careful_rates(weeks)
    left, quiet_h, at = math.log(2.0), 0.0, hour % HOURS
    while quiet_h < FARTHEST_H:
        here_h = 1.0 - at % 1.0
        rate = rates[int(at) % HOURS]
        if rate * here_h >= left:
            return Forecast((quiet_h + left / rate) * HOUR_S, rates)
        left -= rate * here_h
        quiet_h += here_h
        at = (math.floor(at) + 1.0) % HOURS
    return Forecast(FARTHEST_H * HOUR_S, rates)


def careful_rates(weeks: Weeks) -> tuple[float, ...]:
    """Visits an hour, by hour of the week, at the posterior's 80th percentile."""
    overall = _mean(sum(weeks.visits), sum(weeks.quiet_h), FIRST_RATE)
    of_day = [_mean(sum(weeks.visits[hour::24]), sum(weeks.quiet_h[hour::24]), overall) for hour in range(24)]
    return tuple(
        _careful(weeks.visits[hour] + SHRINK_H * of_day[hour % 24], weeks.quiet_h[hour] + SHRINK_H)
        for hour in range(HOURS)
    )


def _mean(visits: float, hours: float, prior: float) -> float:
    return (visits + SHRINK_H * prior) / (hours + SHRINK_H)


def _careful(shape: float, rate: float) -> float:
    """The gamma distribution's 80th percentile (Wilson and Hilferty 1931), and no less than half its mean."""
    shape = max(shape, 1e-9)
    spread = 1.0 / (9.0 * shape)
    cube = max(0.0, 1.0 - spread + CAUTION_Z * math.sqrt(spread))
    return max(shape * cube**3, shape * 0.5) / rate


def _added(counts: Sequence[float], hour: int, amount: float) -> tuple[float, ...]:
    found = list(counts)
    found[hour % HOURS] += amount
    return tuple(found)
