"""Lists for people: columns that line up on a terminal and can be cut apart in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

_UNBOUNDED = 100_000
"""Columns: a row longer than the terminal is broken by the terminal, and nothing is cut off."""


def show(titles: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
    """Prints a table, or ``nothing`` to standard error, so that a pipe stays empty."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        Console(stderr=True, highlight=False, soft_wrap=True).print(nothing, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False, width=_UNBOUNDED).print(table)


def day(moment: datetime) -> str:
    """The date, in this machine's time."""
    return moment.astimezone().date().isoformat()
