"""``/api/v1/nodes``: the registry, for operators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import Id
from libs.shared.contracts.scheduling import DRAIN, LIST_NODES, UNDRAIN, Drained, NodeRef, Nodes
from services.api.access import Access
from services.api.routing import Endpoint, PartsOf


async def list_nodes(parts: PartsOf) -> Nodes:
    """Every node with its telemetry, its breaker, and why it is or isn't chosen."""
    return await parts.bus.request(LIST_NODES, Empty())


async def drain_node(parts: PartsOf, node_id: Annotated[Id, Path()]) -> Drained:
    """Lets the node finish what it has, and gives it nothing new."""
    return await parts.bus.request(DRAIN, NodeRef(node_id=node_id))


async def undrain_node(parts: PartsOf, node_id: Annotated[Id, Path()]) -> Drained:
    """Lets the node take requests again."""
    return await parts.bus.request(UNDRAIN, NodeRef(node_id=node_id))


_OPTIONS: dict[str, Any] = {"tags": ["nodes"]}
_ONE = "/api/v1/nodes/{node_id}"
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/nodes", handler=list_nodes, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/drain", handler=drain_node, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/undrain", handler=undrain_node, access=Access.OPERATOR, options=_OPTIONS),
)
