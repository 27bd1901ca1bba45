"""Having the scheduler forget a node whose key was taken away."""

from __future__ import annotations

import asyncio

from cli.errors import CommandError
from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import FORGET, LIST_NODES, NodeRef

_WORD_S = 1.5
"""A node tells of itself once a second: one that still can is known again after so long."""
_ATTEMPTS = 8


async def forget(bus: Bus, node_id: str, *, word_s: float = _WORD_S) -> None:
    """Returns once it stays forgotten. Raises CommandError when it goes on speaking."""
    for _ in range(_ATTEMPTS):
        await bus.request(FORGET, NodeRef(node_id=node_id))
        await asyncio.sleep(word_s)
        nodes = (await bus.request(LIST_NODES, Empty())).nodes
        if all(node.telemetry.node_id != node_id for node in nodes):
            return
    raise CommandError(
        f"a node {node_id} still tells of itself", "see whether another machine was given its name: mongars nodes"
    )
