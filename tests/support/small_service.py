"""A service of a few lines, run as a process by the tests of a service's life."""

from __future__ import annotations

import asyncio
import os

from libs.shared.contracts.base import Principal
from libs.shared.contracts.scheduling import DRAIN, PLACE, Drained, NodeRef, Placement, PlaceRequest
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.errors import NoNode, Unavailable
from libs.shared.service import ServiceContext, run
from libs.shared.settings import ServiceSettings
from tests.support.conversations import placement

SLOW_S = 0.5


async def wire(context: ServiceContext) -> None:
    """Places at once, drains slowly; one dependency is well and one isn't."""

    async def place(request: PlaceRequest) -> Placement:
        if request.model is None:
            raise NoNode("none is there")
        return placement(request.model)

    async def drain(request: NodeRef) -> Drained:
        await asyncio.sleep(SLOW_S)
        return Drained(node_id=request.node_id, draining=True)

    async def well() -> DependencyHealth:
        return DependencyHealth(ok=True)

    async def ill() -> DependencyHealth:
        raise Unavailable("it is away")

    async def stuck() -> DependencyHealth:
        await asyncio.Event().wait()
        return DependencyHealth(ok=True)

    if os.environ.get("SMALL_SERVICE") == "fails":
        raise RuntimeError("cannot be wired")
    await context.bus.serve(PLACE, place)
    await context.bus.serve(DRAIN, drain)
    context.check("well", well)
    context.check("ill", ill, required=False)
    context.check("stuck", stuck, required=False)
    context.degraded("one thing", True)
    context.degraded("another", True)
    context.degraded("another", False)
    context.stack.callback(lambda: print("stack closed", flush=True))


if __name__ == "__main__":
    run(Principal.SCHEDULER, ServiceSettings(), wire, description="Does little, for tests")
