"""Both implementations of the bus, behind one fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from tests.support.broker import TestBroker

AnyBus = NatsBus | MemoryBus
Connect = Callable[[Principal], Awaitable[AnyBus]]


@pytest.fixture
async def in_memory() -> AsyncIterator[Connect]:
    broker = MemoryBroker()
    buses: list[MemoryBus] = []

    async def connect(principal: Principal) -> AnyBus:
        buses.append(await broker.connect(principal))
        return buses[-1]

    yield connect
    for bus in buses:
        await bus.drain(1.0)


@pytest.fixture(params=["nats", "memory"])
async def connect(request: pytest.FixtureRequest, in_memory: Connect, tmp_path: Path) -> AsyncIterator[Connect]:
    """Connects as a principal; every bus is drained at the end."""
    if request.param == "memory":
        yield in_memory
        return
    async with TestBroker(tmp_path) as real:
        yield real.connect
