"""Waiting until a node that takes nothing new has nothing left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from cli.errors import CommandError, Exit
from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import DRAIN, LIST_NODES, UNDRAIN, Drained, Node, NodeRef
from libs.shared.errors import NodeNotFound, NodeSilent, ServiceError, TimedOut, Unavailable

LOOK_S = 0.5
SETTLED_S = 1.5
"""A request that was placed a moment before may still be on its way: a node is done once it was empty for so long."""


@dataclass(frozen=True)
class Left:
    """What the node has still to do."""

    in_flight: int
    queued: int
    tokens: int

    @property
    def requests(self) -> int:
        return self.in_flight + self.queued


async def set_draining(bus: Bus, node_id: str, draining: bool) -> Drained:
    """Raises CommandError where the node is unknown or silent."""
    try:
        return await bus.request(DRAIN if draining else UNDRAIN, NodeRef(node_id=node_id))
    except NodeNotFound:
        raise not_known(node_id) from None
    except NodeSilent:
        raise CommandError(
            f"{node_id} does not answer",
            "while it is silent nothing is placed on it; should it come back it may have heard this (mongars nodes)",
            code=Exit.REFUSED,
        ) from None


def not_known(node_id: str) -> CommandError:
    """What a command says of a node that nobody knows."""
    return CommandError(f"there is no node {node_id}", "mongars nodes lists them", code=Exit.REFUSED)


async def find(bus: Bus, node_id: str) -> tuple[Node, tuple[Node, ...]]:
    """The node, and all nodes. Raises CommandError."""
    nodes = (await bus.request(LIST_NODES, Empty())).nodes
    for node in nodes:
        if node.telemetry.node_id == node_id:
            return node, nodes
    raise not_known(node_id)


def only_there(node_id: str, nodes: Iterable[Node]) -> tuple[str, ...]:
    """Models that no other available node serves, by name. Pure."""
    nodes = tuple(nodes)
    elsewhere = {m.name for n in nodes if n.telemetry.node_id != node_id and n.available for m in n.telemetry.models}
    here = {m.name for n in nodes if n.telemetry.node_id == node_id for m in n.telemetry.models}
    return tuple(sorted(here - elsewhere))


async def wait_until_done(
    bus: Bus,
    node_id: str,
    *,
    timeout_s: float,
    tell: Callable[[Left], None],
    settled_s: float = SETTLED_S,
    look_s: float = LOOK_S,
) -> float:
    """Seconds that it took. Raises CommandError: the time is over, or the node is silent or takes requests again."""
    begun = monotonic()
    empty_since: float | None = None
    left: Left | None = None
    while True:
        node = await _look(bus, node_id)
        if node is not None:
            left = _left(node, node_id)
            tell(left)
        now = monotonic()
        empty_since = (empty_since or now) if node is not None and left is not None and not left.requests else None
        if empty_since is not None and now - empty_since >= settled_s:
            return now - begun
        if now - begun >= timeout_s:
            raise _still_busy(node_id, left, timeout_s)
        await asyncio.sleep(look_s)


async def _look(bus: Bus, node_id: str) -> Node | None:
    """None while the scheduler can't be asked: it may be starting anew."""
    try:
        return (await find(bus, node_id))[0]
    except (Unavailable, TimedOut):
        return None
    except ServiceError as error:
        raise CommandError(error.detail, code=Exit.REFUSED) from None


def _left(node: Node, node_id: str) -> Left:
    told = node.telemetry
    if node.reason == "silent":
        raise CommandError(
            f"{node_id} went silent with {told.in_flight + told.queued} requests",
            "its requests are tried on other nodes where they can be; see mongars nodes",
        )
    if not told.draining:
        raise CommandError(
            f"{node_id} takes requests again: somebody undrained it, or it was started anew",
            f"mongars nodes drain {node_id}",
        )
    return Left(told.in_flight, told.queued, told.in_flight_tokens + told.queued_tokens)


def _still_busy(node_id: str, left: Left | None, timeout_s: float) -> CommandError:
    what = f"{left.requests} requests" if left is not None else "requests, as far as anybody knows"
    return CommandError(
        f"after {timeout_s:g} s {node_id} still has {what}",
        f"it goes on draining: run the command again to wait on, or end it with: mongars nodes undrain {node_id}",
        code=Exit.NOT_READY,
    )
