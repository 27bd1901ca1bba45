"""What each node told over the last hour, one moment every ten seconds. Pure: the clock is an argument.

Telemetry comes at once on a change, so a busy second has more of it than a quiet one: means are over time, each state
held until the next came. Lost with the process, like the registry itself.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from libs.shared.contracts.scheduling import NodeHistory
from libs.shared.contracts.telemetry import NodeTelemetry

EVERY_S = 10.0
MOMENTS = 360
"""Of one node."""
MOST_MOMENTS = 100_000
"""Of all nodes together, some 8 MB; where there are more nodes, each is remembered for a shorter time."""
MOST_TOLD = 20_000
"""Moments in one answer about all nodes: it is put together by the process that places requests."""
HELD_S = 3.0
"""A state says nothing about what came later than this."""
_WIDTH = 9
"""Numbers a moment: when it began, then the columns of NodeHistory in their order."""
_LEAST_WEIGHT_S = 1e-6
"""Of a state that no time has passed in yet, so that a moment with one message has a mean."""
_SHORTEST_S = 0.5
"""Over less a count of tokens is no rate."""
_UNTOLD = math.nan


@dataclass(slots=True)
class _Moment:
    """Sums over the moment that is going on."""

    begun_s: float
    weight_s: float = 0.0
    load: float = 0.0
    tokens: float = 0.0
    utilisation: float = 0.0
    power_ws: float = 0.0
    power_s: float = 0.0
    queued: int = 0
    generated: int = 0
    temperature_c: float = _UNTOLD
    throttled: float = _UNTOLD

    def hold(self, told: NodeTelemetry, seconds: float) -> None:
        """The node was like this for so long."""
        self.weight_s += seconds
        self.load += told.in_flight * seconds
        self.tokens += (told.in_flight_tokens + told.queued_tokens) * seconds
        self.utilisation += told.cpu.utilisation * seconds
        if told.power_w is not None:
            self.power_ws += told.power_w * seconds
            self.power_s += seconds

    def see(self, told: NodeTelemetry) -> None:
        """What counts by its highest."""
        self.queued = max(self.queued, told.queued)
        self.temperature_c = _highest(self.temperature_c, told.temperature_c)
        self.throttled = _highest(self.throttled, told.throttled)

    def row(self) -> tuple[float, ...]:
        """Its ``_WIDTH`` numbers."""
        weight = self.weight_s
        return (
            self.begun_s,
            self.load / weight,
            self.queued,
            self.tokens / weight,
            self.utilisation / weight,
            self.generated / weight if weight >= _SHORTEST_S else _UNTOLD,
            self.temperature_c,
            self.throttled,
            self.power_ws / self.power_s if self.power_s else _UNTOLD,
        )


def _highest(before: float, told: float | None) -> float:
    if told is None:
        return before
    return float(told) if math.isnan(before) else max(before, float(told))


@dataclass(slots=True)
class _Track:
    """One node's past."""

    told: NodeTelemetry
    told_s: float
    moment: _Moment
    rows: array[float] = field(default_factory=lambda: array("d"))

    def note(self, told: NodeTelemetry, now_s: float) -> None:
        self.moment.hold(self.told, min(max(0.0, now_s - self.told_s), HELD_S))
        if now_s - self.moment.begun_s >= EVERY_S:
            self.rows.extend(self.moment.row())
            self.moment = _Moment(_begin(now_s))
        self.moment.generated += _generated(self.told, told)
        self.told, self.told_s = told, now_s
        self.moment.hold(told, _LEAST_WEIGHT_S)
        self.moment.see(told)

    def keep(self, moments: int) -> None:
        excess = len(self.rows) - moments * _WIDTH
        if excess > 0:
            del self.rows[:excess]


def _begin(now_s: float) -> float:
    return now_s - now_s % EVERY_S


def _generated(before: NodeTelemetry, told: NodeTelemetry) -> int:
    """Tokens since: a replica that has begun anew counts from nothing."""
    same = before.boot_id == told.boot_id
    known = {replica.replica: replica.generated_tokens for replica in before.replicas} if same else {}
    counts = ((replica.generated_tokens, known.get(replica.replica, 0)) for replica in told.replicas)
    return sum(count - was if count >= was else count for count, was in counts)


class History:
    """Not thread-safe: it belongs to one event loop."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def note(self, told: NodeTelemetry, now_s: float) -> None:
        """Takes in telemetry that the registry took in; ``now_s`` of a clock that only goes forward."""
        track = self._tracks.get(told.node_id)
        if track is None:
            track = self._tracks[told.node_id] = _Track(told, now_s, _Moment(_begin(now_s)))
        track.note(told, now_s)
        track.keep(self.moments_each - 1)

    @property
    def moments_each(self) -> int:
        """How many moments of a node are kept, the one that is going on included."""
        return max(1, min(MOMENTS, MOST_MOMENTS // max(1, len(self._tracks))))

    def forget(self, node_id: str) -> None:
        """The registry knows the node no more."""
        self._tracks.pop(node_id, None)

    def read(self, node_id: str, *, now_s: float, now: datetime, most: int = MOMENTS) -> NodeHistory:
        """The last ``most`` moments; ``now`` is the time of day at ``now_s``. Nothing of a node never heard."""
        track = self._tracks.get(node_id)
        if track is None:
            return NodeHistory(every_s=EVERY_S)
        kept = track.rows[max(0, len(track.rows) - (most - 1) * _WIDTH) :]
        flat = (*kept, *track.moment.row())
        at, *columns = (flat[start::_WIDTH] for start in range(_WIDTH))
        load, queued, tokens, utilisation, generated, temperature, throttled, power = columns
        return NodeHistory(
            every_s=EVERY_S,
            at=tuple(now - timedelta(seconds=round(now_s - begun_s, 3)) for begun_s in at),
            load=_rounded(load, 2),
            queued=tuple(map(int, queued)),
            tokens=_rounded(tokens, 1),
            utilisation=_rounded(utilisation, 3),
            generated_tokens_per_s=_known(generated, 2),
            temperature_c=_known(temperature, 1),
            throttled=tuple(None if math.isnan(value) else bool(value) for value in throttled),
            power_w=_known(power, 2),
        )


def _rounded(values: tuple[float, ...], digits: int) -> tuple[float, ...]:
    return tuple(round(value, digits) for value in values)


def _known(values: tuple[float, ...], digits: int) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else round(value, digits) for value in values)
