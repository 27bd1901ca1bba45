"""The figures drawn: a bar for each policy, and for each condition, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.report import bars

Rows = Sequence[Sequence[object]]


def draw(folder: Path, policies: Rows, conditions: Rows, loads: Rows) -> None:
    """``policies.svg``, ``conditions.svg`` and ``loads.svg``; what was not measured is not drawn."""
    for name, rows, columns in (
        ("policies", policies, (1, 3)),
        ("conditions", conditions, (1, 3)),
        ("loads", loads, (1, 2)),
    ):
        if rows:
            legend = ("expected_completion, p99 s", "clairvoyant, p99 s") if name == "loads" else ("p50 s", "p99 s")
            drawn = [(str(row[0]), float(str(row[columns[0]])), float(str(row[columns[1]]))) for row in rows]
            (folder / f"{name}.svg").write_text(bars(drawn, legend))
