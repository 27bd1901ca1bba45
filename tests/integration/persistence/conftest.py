"""A real PostgreSQL for the whole run; a fresh database, slot file and bus for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from tests.support.database import Cluster, running_cluster
from tests.support.persistence import Client, RunningPersistence


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture(autouse=True)
def emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test made in the server that all share goes with it."""
    shared: Cluster | None = request.getfixturevalue("cluster") if "cluster" in request.fixturenames else None
    yield
    if shared is not None:
        shared.drop_unused()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest_asyncio.fixture
async def persistence(cluster: Cluster, tmp_path: Path, broker: MemoryBroker) -> AsyncIterator[RunningPersistence]:
    running = RunningPersistence.on(cluster, tmp_path / "state", broker.connect)
    await running.start()
    yield running
    await running.stop()


@pytest_asyncio.fixture
async def client(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Client]:
    client = Client(await broker.connect(Principal.API), await broker.connect(Principal.COGNITION))
    yield client
    await client.bus.drain(1)
    await client.cognition.drain(1)
