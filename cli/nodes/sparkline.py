"""A row of numbers as a line of little bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

_BARS = "▁▂▃▄▅▆▇█"
_GAP = " "


def spread(at: Sequence[datetime], values: Sequence[float | None], every_s: float, width: int) -> list[float | None]:
    """``values`` in ``width`` steps of equal time up to the last: the highest of each; None where nothing was told."""
    if not at:
        return []
    span_s = max((at[-1] - at[0]).total_seconds() + every_s, every_s)
    width = max(1, min(width, round(span_s / every_s)))
    steps: list[float | None] = [None] * width
    for moment, value in zip(at, values, strict=True):
        step = min(width - 1, int((moment - at[0]).total_seconds() / span_s * width + 1e-6))
        known = steps[step]
        steps[step] = value if known is None else known if value is None else max(known, value)
    return steps


def sparkline(values: Sequence[float | None]) -> str:
    """From the lowest to the highest of them; a gap where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, height = min(known), max(known) - min(known)
    return "".join(_GAP if value is None else _bar((value - low) / height if height else 0.0) for value in values)


def _bar(share: float) -> str:
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
