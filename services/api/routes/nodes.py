"""``/api/v1/nodes``: the registry, for operators."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Path, Query

from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import Id
from libs.shared.contracts.scheduling import (
    DRAIN,
    LIST_NODES,
    NODE_HISTORY,
    UNDRAIN,
    Drained,
    Node,
    NodeRef,
    Nodes,
    ReadHistory,
)
from libs.shared.errors import NodeNotFound
from services.api.access import Access
from services.api.parts import Parts
from services.api.routing import Endpoint, PartsOf

NodeId = Annotated[Id, Path(description="As the list shows it.")]
HistoryWanted = Annotated[
    bool,
    Query(
        description="With what each node told over the last hour, or less where there are more than 55: "
        "one moment every ten seconds, in columns."
    ),
]


async def list_nodes(parts: PartsOf, history: HistoryWanted = False) -> Nodes:
    """Every node with its telemetry, its breakers, and why it is or isn't chosen."""
    if not history:
        return await parts.bus.request(LIST_NODES, Empty())
    return Nodes(nodes=await _with_history(parts, ReadHistory()))


async def read_node(parts: PartsOf, node_id: NodeId) -> Node:
    """One node, with what it told over the last hour."""
    for node in await _with_history(parts, ReadHistory(node_id=node_id)):
        if node.telemetry.node_id == node_id:
            return node
    raise NodeNotFound("no such node is known; see GET /api/v1/nodes")


async def _with_history(parts: Parts, wanted: ReadHistory) -> tuple[Node, ...]:
    listed, past = await asyncio.gather(parts.bus.request(LIST_NODES, Empty()), parts.bus.request(NODE_HISTORY, wanted))
    return tuple(n.model_copy(update={"history": past.nodes.get(n.telemetry.node_id)}) for n in listed.nodes)


async def drain_node(parts: PartsOf, node_id: NodeId) -> Drained:
    """Lets the node finish what it has, and gives it nothing new. It is done when its ``in_flight`` and ``queued``
    are 0."""
    return await parts.bus.request(DRAIN, NodeRef(node_id=node_id))


async def undrain_node(parts: PartsOf, node_id: NodeId) -> Drained:
    """Lets the node take requests again."""
    return await parts.bus.request(UNDRAIN, NodeRef(node_id=node_id))


_OPTIONS: dict[str, Any] = {"tags": ["nodes"]}
_ONE = "/api/v1/nodes/{node_id}"
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/nodes", handler=list_nodes, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="GET", path=_ONE, handler=read_node, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/drain", handler=drain_node, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/undrain", handler=undrain_node, access=Access.OPERATOR, options=_OPTIONS),
)
