"""Tables, JSON files and the closing PASS or FAIL line that every benchmark ends with."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


@dataclass(frozen=True)
class Aim:
    """A figure held against what it should be; ``met`` None: not measured in this run, and said so."""

    name: str
    value: float | None
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value <= self.limit

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not measured"
        return f"{self.name}: {self.value:.3g} {self.unit} (aim ≤ {self.limit:g})".replace("  ", " ")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned for the terminal."""
    text = [[f"{c:.2f}" if isinstance(c, float) else str(c) for c in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in text]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def finish(aims: Sequence[Aim], figures: dict[str, Any], json_file: Path | None) -> NoReturn:
    """Writes the figures, prints the verdict and exits: 0 when every measured aim is met."""
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    passed = all(aim.met is not False for aim in aims)
    print(f"{'PASS' if passed else 'FAIL'} {'; '.join(map(str, aims))}")
    sys.exit(not passed)
