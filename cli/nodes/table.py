"""``mongars nodes``: every node in one table, which leaves out what a narrow terminal has no room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from cli.listing import printable, shortened
from cli.nodes import words
from libs.shared.contracts.scheduling import Node

_GAP = 2
_LONGEST = {"board": 24, "models": 40}


@dataclass(frozen=True)
class Column:
    """``rank``: the columns of the greatest go first where there is no room."""

    title: str
    cell: Callable[[Node], str]
    rank: int
    right: bool = False
    colour: Callable[[Node], str] = lambda _: ""


COLUMNS = (
    Column("node", lambda n: n.telemetry.node_id, 0),
    Column("board", lambda n: n.telemetry.board, 9),
    Column("state", words.state, 0, colour=words.colour),
    Column("load", lambda n: f"{n.telemetry.in_flight}/{words.slots(n.telemetry)}", 1, right=True),
    Column("queue", lambda n: str(n.telemetry.queued), 2, right=True),
    Column("tokens", lambda n: words.count(n.telemetry.in_flight_tokens + n.telemetry.queued_tokens), 6, right=True),
    Column("cpu", lambda n: words.processors(n.telemetry), 3, right=True),
    Column("memory", lambda n: words.memory(n.telemetry), 8, right=True),
    Column("heat", lambda n: words.heat(n.telemetry), 4, right=True, colour=lambda n: words.heat_colour(n.telemetry)),
    Column("power", lambda n: words.power(n.telemetry), 5, right=True),
    Column("tokens/s", lambda n: words.speed(n.telemetry), 5, right=True),
    Column("models", lambda n: ", ".join(model.name for model in n.telemetry.models), 10),
    Column("age", lambda n: words.span(n.age_s), 7, right=True),
)


def cells(column: Column, nodes: Sequence[Node]) -> list[str]:
    """One a node, on one line each, without what a terminal would obey."""
    longest = _LONGEST.get(column.title)
    told = (column.cell(node) for node in nodes)
    return [shortened(text, longest) if longest else printable(text) for text in told]


def columns_within(width: int, nodes: Sequence[Node]) -> tuple[Column, ...]:
    """Those that fit into ``width`` characters, the least important left out first."""
    widths = {c.title: max(map(len, (c.title, *cells(c, nodes)))) + _GAP for c in COLUMNS}
    chosen = list(COLUMNS)
    while sum(widths[c.title] for c in chosen) - _GAP > width and any(c.rank for c in chosen):
        chosen.remove(max(chosen, key=lambda c: c.rank))
    return tuple(chosen)


def table_of(nodes: Sequence[Node], width: int) -> Table:
    """The table for people."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    columns = columns_within(width, nodes)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    texts = [cells(column, nodes) for column in columns]
    for number, node in enumerate(nodes):
        table.add_row(*(Text(t[number], style=c.colour(node)) for c, t in zip(columns, texts, strict=True)))
    return table


def remarks(nodes: Sequence[Node]) -> list[str]:
    """What the table's marks mean, and why a node isn't chosen."""
    found = [
        f"{node.telemetry.node_id} {words.explained(node.reason)}"
        for node in nodes
        if not node.available and node.reason not in ("draining", "silent")
    ]
    if any(node.telemetry.power_w is not None and not node.telemetry.power_measured for node in nodes):
        found.append("≈ estimated from the board and its load: nothing on it measures power")
    return found
