"""The only wiring of the scheduler: what it serves, hears and does in the background."""

from __future__ import annotations

import asyncio
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.replaying_placements import REPLAY_PLACEMENTS
from libs.shared.contracts.scheduling import (
    DRAIN,
    EXPLAIN_JOB,
    EXPLAIN_PLACEMENT,
    FORGET,
    LIST_MODELS,
    LIST_NODES,
    NODE_HISTORY,
    OUTCOME,
    PLACE,
    PLACE_JOB,
    PLACED,
    UNDRAIN,
)
from libs.shared.contracts.telemetry import NODE, DependencyHealth
from libs.shared.runtime_settings import SettingsInForce
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.replaying.replaying import PlacementReplayer
from services.scheduler.replaying.trace import Trace
from services.scheduler.settings import SchedulerSettings

CONNECTION_CHECK_S = 0.5
EXPIRY_CHECK_S = 10.0

log = get_logger(__name__)


async def wire(context: ServiceContext) -> None:
    """Serves every subject of the scheduler."""
    settings = context.settings
    assert isinstance(settings, SchedulerSettings)
    rules = RegistryRules(silent_s=settings.node_silent_s, expires_s=settings.node_expires_s)
    in_force = SettingsInForce(context.bus)
    registry = Registry(rules, monotonic)
    grace = Grace(settings.placement_grace_s, monotonic)
    trace = Trace()
    replayer = PlacementReplayer(registry, trace)
    scheduling = Scheduling(
        context.bus,
        registry,
        grace,
        lambda: in_force.current,
        monotonic,
        trace=trace,
        placing=replayer.make_way,
    )
    context.stack.push_async_callback(replayer.close)
    await serve(context.bus, scheduling)
    await context.bus.serve(REPLAY_PLACEMENTS, replayer.replay)
    context.tasks.create_task(in_force.follow())
    context.tasks.create_task(_expire(scheduling))
    context.tasks.create_task(_watch_connection(context.bus, grace))
    context.check("nodes", lambda: _nodes_health(scheduling), required=False)


async def serve(bus: Bus, scheduling: Scheduling) -> None:
    """Telemetry first, so that the registry fills before the first question."""
    await bus.subscribe(NODE, scheduling.heard)
    await bus.subscribe(OUTCOME, scheduling.outcome)
    await bus.subscribe(PLACED, scheduling.placed_elsewhere)
    await bus.serve(PLACE, scheduling.place)
    await bus.serve(EXPLAIN_PLACEMENT, scheduling.explain_placement)
    await bus.serve(PLACE_JOB, scheduling.place_job)
    await bus.serve(EXPLAIN_JOB, scheduling.explain_job)
    await bus.serve(LIST_NODES, scheduling.list_nodes)
    await bus.serve(NODE_HISTORY, scheduling.read_history)
    await bus.serve(LIST_MODELS, scheduling.list_models)
    await bus.serve(DRAIN, scheduling.drain)
    await bus.serve(UNDRAIN, scheduling.undrain)
    await bus.serve(FORGET, scheduling.forget)


async def _expire(scheduling: Scheduling) -> None:
    while True:
        await asyncio.sleep(EXPIRY_CHECK_S)
        for node_id in scheduling.registry.expire():
            scheduling.history.forget(node_id)
            log.warning("node_forgotten", node_id=node_id)


async def _watch_connection(bus: Bus, grace: Grace) -> None:
    """After the broker was away every node looks silent, until it speaks again."""
    was_connected = bus.connected
    while True:
        await asyncio.sleep(CONNECTION_CHECK_S)
        if bus.connected and not was_connected:
            grace.begin()
        was_connected = bus.connected


async def _nodes_health(scheduling: Scheduling) -> DependencyHealth:
    nodes = (await scheduling.list_nodes(Empty())).nodes
    available = sum(node.available for node in nodes)
    return DependencyHealth(ok=available > 0, detail=f"{available} of {len(nodes)} nodes available")
