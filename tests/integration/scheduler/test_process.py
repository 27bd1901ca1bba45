"""The scheduler as a process: killed and started again, it places as soon as the nodes have spoken."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.replaying_placements import REPLAY_PLACEMENTS, ReplayPlacements, Way
from libs.shared.contracts.scheduling import LIST_NODES, PLACE, Placement, PlaceRequest
from libs.shared.contracts.telemetry import HEALTH, NODE
from libs.shared.errors import Unavailable
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker
from tests.unit.scheduler.clusters import node

LIMIT_S = 20
READY_S = 1.0


@asynccontextmanager
async def process(broker: TestBroker) -> AsyncIterator[Process]:
    environment = os.environ | {
        "MONGARS_NATS_URL": broker.url,
        "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.SCHEDULER)),
        "MONGARS_STATE": str(broker.folder),
    }
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.scheduler", env=environment)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def speaking(inference: Bus) -> None:
    """A node that says every quarter of a second that it is there."""
    sequence = 0
    while True:
        sequence += 1
        await inference.broadcast(NODE, node(NODE_ID, sequence=sequence))
        await asyncio.sleep(0.25)


async def placed(cognition: Bus) -> Placement:
    """The first placement that a scheduler gives, asked for until one serves."""
    while True:
        try:
            return await cognition.request(PLACE, PlaceRequest())
        except Unavailable:
            await asyncio.sleep(0.02)


async def serving(api: Bus) -> float:
    """When the scheduler began to answer."""
    while True:
        try:
            await api.request(LIST_NODES, Empty())
        except Unavailable:
            await asyncio.sleep(0.01)
        else:
            return monotonic()


@pytest.mark.alone
async def test_a_killed_scheduler_places_again_within_a_second_of_its_return(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        inference, cognition, api = [
            await broker.connect(p) for p in (Principal.INFERENCE, Principal.COGNITION, Principal.API)
        ]
        talking = group.create_task(speaking(inference))
        async with process(broker) as first:
            assert (await placed(cognition)).node_id == NODE_ID
            first.send_signal(signal.SIGKILL)
            await first.wait()
        async with process(broker) as second:
            returned = await serving(api)
            assert (await placed(cognition)).node_id == NODE_ID, "the first request is held back, not refused"
            assert monotonic() - returned < READY_S
            health = await api.request(HEALTH[Principal.SCHEDULER], Empty())
            assert health.ready
            assert health.dependencies["nodes"].ok
            second.send_signal(signal.SIGTERM)
            assert await second.wait() == 0
        talking.cancel()


async def test_the_optimizer_has_placements_replayed_over_the_broker(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        inference, cognition, optimizer = [
            await broker.connect(p) for p in (Principal.INFERENCE, Principal.COGNITION, Principal.OPTIMIZER)
        ]
        talking = group.create_task(speaking(inference))
        async with process(broker):
            assert (await placed(cognition)).node_id == NODE_ID
            way = Way(policy="expected_completion", others=1.0)
            told = await optimizer.request(REPLAY_PLACEMENTS, ReplayPlacements(ways=(way,)))
            assert (told.nodes, told.ways) == (1, ())
            assert "one node" in told.reason
        talking.cancel()
