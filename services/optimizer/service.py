"""The only wiring of the optimizer: what it hears, what it serves, and the night."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import LEDGER_CHANGED, ChangeRecorded
from libs.shared.contracts.scaling import WORKER
from libs.shared.contracts.scheduling import PREEMPT, Preempt
from libs.shared.contracts.sleep import OPTIMISATION, SLEEP_NOW, SLEEP_STATUS, Scaled
from libs.shared.contracts.telemetry import NODE
from libs.shared.contracts.watching import TURN_MEASURED, TURN_RATED, TURN_UNANSWERED
from libs.shared.hardware import recommended_worker_count
from libs.shared.hardware.boards import read_board
from libs.shared.hardware.workers import read_capacity
from libs.shared.runtime_settings import SettingsInForce
from libs.shared.service import ServiceContext
from services.optimizer.cycle import Machine
from services.optimizer.gate import Gate
from services.optimizer.handlers import Handlers
from services.optimizer.night import Night, Parts
from services.optimizer.outside import Outside
from services.optimizer.own_use import OwnUse
from services.optimizer.pipeline.driving import Pipeline
from services.optimizer.pipeline.evaluating import ReplayEvaluation
from services.optimizer.record import Record
from services.optimizer.scaling.changing import Counts
from services.optimizer.scaling.choosing import chosen
from services.optimizer.scaling.hearing import Heard
from services.optimizer.scaling.keeping import Scaling
from services.optimizer.sensing import Sensing
from services.optimizer.settings import OptimizerSettings
from services.optimizer.sharing import Others
from services.optimizer.stopping import measure
from services.optimizer.telling import Telling
from services.optimizer.watch.turns import LatestTurns


async def wire(context: ServiceContext) -> None:
    """Serves every subject of the optimizer."""
    settings = context.settings
    assert isinstance(settings, OptimizerSettings)
    parts = assembled(context.bus, settings)
    night = Night(parts)
    scaling = await follow_load(context.bus, context.tasks, settings)
    await serve(context.bus, context.tasks, parts, night, scaling.told if scaling is not None else tuple)
    await follow_changes(context.bus, context.tasks, settings.folder.sleep, parts.outside)
    context.tasks.create_task(night.run())
    context.tasks.create_task(parts.telling.run())


async def follow_changes(bus: Bus, tasks: asyncio.TaskGroup, folder: Path, outside: Outside) -> Pipeline:
    """Takes changes through the ledger, and watches what they do."""
    turns = LatestTurns(folder / "turns.json")
    settings = SettingsInForce(bus, lambda _: pipeline.wake())
    pipeline = Pipeline(bus, turns, lambda: settings.current, ReplayEvaluation(bus, outside))

    async def changed(_: ChangeRecorded) -> None:
        pipeline.wake()

    await bus.subscribe(LEDGER_CHANGED, changed)
    await bus.subscribe(TURN_MEASURED, turns.told)
    await bus.subscribe(TURN_RATED, turns.rated)
    await bus.subscribe(TURN_UNANSWERED, turns.told)
    tasks.create_task(settings.follow())
    tasks.create_task(pipeline.run())
    return pipeline


async def follow_load(bus: Bus, tasks: asyncio.TaskGroup, settings: OptimizerSettings) -> Scaling | None:
    """Sees to the number of workers; None where it is left as it is."""
    scaler = chosen(settings)
    if scaler is None:
        return None
    heard = Heard(settings.node_id, settings.sleep_hot_c)
    in_force = SettingsInForce(bus, lambda _: scaling.wake())
    scaling = Scaling(scaler, Counts(bus), heard, lambda: in_force.current, heard.room)
    for service, contract in WORKER.items():
        await bus.subscribe(contract, partial(heard.worker, service.value))
    await bus.subscribe(NODE, heard.node)
    await bus.subscribe(PREEMPT, heard.asked)
    await bus.subscribe(TURN_UNANSWERED, heard.unanswered)
    tasks.create_task(in_force.follow())
    tasks.create_task(scaling.run())
    return scaling


def assembled(bus: Bus, settings: OptimizerSettings) -> Parts:
    """Its parts, on what earlier ones of it left behind."""
    folder, gate = settings.folder.sleep, Gate()
    owner = settings.node_id or socket.gethostname().partition(".")[0][:60] or "node"
    sensing = Sensing(settings.node_id, OwnUse(gate), folder / "weeks.json")
    capacity = read_capacity()
    threads = settings.sleep_threads or recommended_worker_count()
    return Parts(
        bus=bus,
        settings=settings,
        gate=gate,
        sensing=sensing,
        record=Record(folder / "cycles.json"),
        others=Others(owner, folder / "others.json"),
        telling=Telling(bus, owner, uuid4().hex, folder / "told.json"),
        yielding=Yielding(bus, settings.node_id, presses=False),
        outside=Outside(bus, settings.node_id, gate, threads),
        machine=Machine(
            threads=threads,
            cores=float(capacity.physical_cores),
            profile=read_board().profile,
            account=sensing.account,
        ),
        owner=owner,
    )


async def serve(
    bus: Bus, tasks: asyncio.TaskGroup, parts: Parts, night: Night, scaled: Callable[[], tuple[Scaled, ...]] = tuple
) -> None:
    """Requests are heard of before anything is begun."""
    handlers = Handlers(parts, night, scaled)

    async def preempted(told: Preempt) -> None:
        running = [process.pid for process in parts.gate.processes if not process.paused]
        await parts.yielding.preempted(told)
        await parts.outside.preempted(told)
        night.requested(told)
        if running:
            tasks.create_task(_measured(running, told))

    await bus.subscribe(PREEMPT, preempted)
    await bus.subscribe(NODE, parts.sensing.node)
    await bus.subscribe(OPTIMISATION, parts.others.told)
    await bus.serve(SLEEP_NOW, handlers.sleep_now)
    await bus.serve(SLEEP_STATUS, handlers.sleep_status)


async def _measured(running: list[int], told: Preempt) -> None:
    await measure(running, told.arrived_at)
