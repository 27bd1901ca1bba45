"""Lists for people: columns that line up on a terminal and can be cut apart in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_TITLE_WIDTH = 10
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {*map(ord, "\t\n")}
_SHOWN_FOR = dict.fromkeys(_CONTROLS, "\N{REPLACEMENT CHARACTER}")
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
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False, width=_UNBOUNDED).print(table)


def show_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Prints what belongs to each title, one below the other, each whole on its line."""
    for title, text in facts:
        console.print(f"  {title:<{_TITLE_WIDTH}}", style="dim", end="", markup=False)
        console.print(text, markup=False)


def day(moment: datetime) -> str:
    """The date, in this machine's time."""
    return moment.astimezone().date().isoformat()


def day_of(moment: str) -> str:
    """The date of a moment as JSON has it, in this machine's time."""
    return day(datetime.fromisoformat(moment))


def printable(text: str) -> str:
    """Without what a terminal would obey: what is remembered may come from anybody."""
    return text.translate(_SHOWN_FOR)


def shortened(text: str, most: int) -> str:
    """On one line, of at most ``most`` characters."""
    joined = printable(" ".join(text.split()))
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"
