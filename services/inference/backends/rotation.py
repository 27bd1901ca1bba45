"""Which of several endpoints is asked next, and how each outcome counts for it. Pure; clocks are monotonic seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from libs.shared import breakers
from libs.shared.breakers import CLOSED, Breaker, BreakerRules
from libs.shared.errors import BackendFailed, ContextExceeded, Overloaded, ServiceError, Unsupported

RULES = BreakerRules()
SOONEST_S = 0.1
"""Least that a caller is told to wait."""


@dataclass(frozen=True)
class Standing:
    """One endpoint, as what was asked of it shows."""

    slots: int
    in_flight: int = 0
    breaker: Breaker = CLOSED
    paused_until: float = 0.0
    """It said when to come back; that is no failure."""

    def open_at(self, now: float) -> bool:
        """Whether it may be asked at ``now``."""
        return now >= self.paused_until and breakers.allows(self.breaker, now, RULES)

    def opens_at(self, now: float) -> float:
        """When it may be asked again, as far as is known; ``now`` if it may already."""
        if self.open_at(now):
            return now
        since = self.breaker.probe_since
        probed = since + RULES.probe_s if since is not None and now >= self.breaker.open_until else 0.0
        return max(self.paused_until, self.breaker.open_until, probed)


def order(standings: Mapping[int, Standing], after: int, now: float) -> list[int]:
    """Those that may be asked: the one after ``after`` first and round from there, those with a free slot before
    those without."""
    usable = [number for number, standing in standings.items() if standing.open_at(now)]
    return sorted(usable, key=lambda number: (_full(standings[number]), number <= after, number))


def capacity(standings: Mapping[int, Standing], now: float) -> int:
    """Requests that all of them together work on now; at least one, so that a refusal is heard and not waited for."""
    return max(1, sum(standing.slots for standing in standings.values() if standing.open_at(now)))


def next_change(standings: Mapping[int, Standing], now: float) -> float | None:
    """When the next of those that may not be asked may be; None when all may."""
    return min((s.opens_at(now) for s in standings.values() if not s.open_at(now)), default=None)


def wait_s(standings: Mapping[int, Standing], now: float) -> float:
    """How long until any of them may be asked."""
    return max(SOONEST_S, min((s.opens_at(now) for s in standings.values()), default=now) - now)


def begun(standing: Standing, now: float) -> Standing:
    """It was given a request."""
    breaker = breakers.probed(standing.breaker, now, RULES)
    return replace(standing, in_flight=standing.in_flight + 1, breaker=breaker)


def ended(standing: Standing) -> Standing:
    """That request is over, however."""
    return replace(standing, in_flight=standing.in_flight - 1)


def succeeded(standing: Standing) -> Standing:
    """It answered to the end."""
    return replace(standing, breaker=breakers.succeeded(standing.breaker))


def failed(standing: Standing, error: ServiceError, now: float) -> Standing:
    """It didn't. One that says when to come back is left alone until then; what is the request's fault counts for
    nothing."""
    if isinstance(error, Overloaded):
        until = now + float(error.data.get("retry_after_s") or SOONEST_S)
        return replace(standing, paused_until=max(standing.paused_until, until))
    if not is_of_the_endpoint(error):
        return standing
    return replace(standing, breaker=breakers.failed(standing.breaker, now, RULES))


def is_of_the_endpoint(error: ServiceError) -> bool:
    """Whether another endpoint may do better."""
    return not isinstance(error, ContextExceeded | Unsupported) and reason_of(error) != "upstream_refused"


def reason_of(error: ServiceError) -> str:
    """The bounded word under which a failure is counted."""
    return str(error.data.get("reason") or error.code) if isinstance(error, BackendFailed) else error.code


def _full(standing: Standing) -> bool:
    return standing.in_flight >= standing.slots
