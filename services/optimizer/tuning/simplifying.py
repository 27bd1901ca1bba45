"""The smallest change that reaches a gain: what a search moved without need goes back to where it was. Pure."""

from __future__ import annotations

from collections.abc import Callable

from services.optimizer.tuning.space import Point

KEPT = 0.9
"""So much of the gain a smaller change must keep."""
_STEPS = (0.25, 0.5, 0.75)
DIGITS = 2


def simplified(current: Point, best: Point, value: Callable[[Point], float]) -> Point:
    """Of the way from ``current`` to ``best`` as little as keeps ``KEPT`` of the gain: weights go back one by one, the
    one that costs least first, and what is left is shortened and rounded. ``best`` again where nothing is gained."""
    before, after = value(current), value(best)
    least = before + KEPT * (after - before)
    if after <= before:
        return dict(best)
    point = _without_needless(current, dict(best), value, least)
    point = _shortened(current, point, value, least)
    rounded = {name: round(weight, DIGITS) if weight != current[name] else weight for name, weight in point.items()}
    return rounded if value(rounded) >= least else point


def _without_needless(current: Point, point: Point, value: Callable[[Point], float], least: float) -> Point:
    moved = [name for name in point if point[name] != current[name]]
    while moved:
        tried = {name: value(point | {name: current[name]}) for name in moved}
        name = max(tried, key=lambda one: tried[one])
        if tried[name] < least:
            break
        point = point | {name: current[name]}
        moved.remove(name)
    return point


def _shortened(current: Point, point: Point, value: Callable[[Point], float], least: float) -> Point:
    for name in [name for name in point if point[name] != current[name]]:
        for step in _STEPS:
            nearer = point | {name: current[name] + step * (point[name] - current[name])}
            if value(nearer) >= least:
                point = nearer
                break
    return point
