"""Tables, JSON files and the closing PASS or FAIL line that every benchmark ends with."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NoReturn

_COLOURS = ("#4b7bec", "#fa8231")


@dataclass(frozen=True)
class Aim:
    """A figure held against what it should be; ``met`` None: not measured in this run, and said so."""

    name: str
    value: float | None
    limit: float
    unit: str = ""
    at_least: bool = False
    """It should be large."""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not measured"
        side = "≥" if self.at_least else "≤"
        return f"{self.name}: {self.value:.3g} {self.unit} (aim {side} {self.limit:g})".replace("  ", " ")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned for the terminal."""
    text = [[f"{c:.2f}" if isinstance(c, float) else str(c) for c in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in text]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def bars(rows: Sequence[tuple[str, float, float]], legend: tuple[str, str]) -> str:
    """An SVG of two bars a row, on a logarithmic scale."""
    widths = [[_bar(value) for value in values] for _, *values in rows]
    height = 40 + 36 * len(rows)
    drawn = []
    for row, ((name, *values), pair) in enumerate(zip(rows, widths, strict=True)):
        y = 36 + 36 * row
        drawn.append(f'<text x="0" y="{y + 16}">{escape(name)}</text>')
        for bar, (value, width, colour) in enumerate(zip(values, pair, _COLOURS, strict=True)):
            drawn.append(f'<rect x="420" y="{y + 14 * bar}" width="{width}" height="12" fill="{colour}"/>')
            drawn.append(f'<text x="{428 + width}" y="{y + 11 + 14 * bar}">{value:.2f}</text>')
    keys = "".join(
        f'<text x="{420 + 120 * n}" y="20" fill="{colour}">{escape(name)}</text>'
        for n, (name, colour) in enumerate(zip(legend, _COLOURS, strict=True))
    )
    size = f'width="900" height="{height}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join((head, keys, *drawn, "</svg>\n"))


def _bar(value: float) -> float:
    """Pixels: a hundred for each power of ten from a hundredth on."""
    return round(100 * max(0.0, math.log10(max(value, 0.01)) + 2), 1)


def finish(aims: Sequence[Aim], figures: dict[str, Any], json_file: Path | None) -> NoReturn:
    """Writes the figures, prints the verdict and exits: 0 when every measured aim is met."""
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    passed = all(aim.met is not False for aim in aims)
    print(f"{'PASS' if passed else 'FAIL'} {'; '.join(map(str, aims))}")
    sys.exit(not passed)
