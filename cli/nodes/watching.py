"""The table of nodes as it changes, until somebody has seen enough."""

from __future__ import annotations

import asyncio

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cli.nodes.table import remarks, table_of
from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import LIST_NODES, Node
from libs.shared.errors import ServiceError

EVERY_S = 1.0
_HINT = "Ctrl-C ends this"


def picture(nodes: tuple[Node, ...], width: int, hint: str = "") -> RenderableType:
    """The table with its remarks."""
    if not nodes:
        return Text("no node has spoken yet", style="dim")
    below = [*remarks(nodes), *([hint] if hint else [])]
    return Group(table_of(nodes, width), *(Text(text, style="dim") for text in ("", *below)))


async def watch(bus: Bus, console: Console) -> None:
    """Until cancelled; a scheduler that is away is waited for, and said to be."""
    nodes = (await bus.request(LIST_NODES, Empty())).nodes
    with Live(picture(nodes, console.width, _HINT), console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(EVERY_S)
            hint = _HINT
            try:
                nodes = (await bus.request(LIST_NODES, Empty())).nodes
            except ServiceError:
                hint = "the scheduler does not answer; this is what it told last"
            live.update(picture(nodes, console.width, hint), refresh=True)
