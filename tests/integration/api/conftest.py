"""A real broker, a real database with persistence on it, and the api as the process that people start."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import CREATE_KEY, CREATE_USER, CreateKey, CreateUser
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import MemoryMode, Role
from libs.shared.credentials import hash_password, new_api_key
from tests.support.broker import TestBroker, free_port
from tests.support.database import Cluster, running_cluster
from tests.support.persistence import RunningPersistence

PASSWORD = "a long enough password"
STARTED_S = 20.0
REQUESTS_PER_MINUTE = 1200


@dataclass
class Gateway:
    """The api's process, and what it needs to be started again."""

    broker: TestBroker
    cli: Bus
    port: int = field(default_factory=free_port)
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = os.environ | {
            "MONGARS_NATS_URL": self.broker.url,
            "MONGARS_NATS_SEED_FILE": str(self.broker.seed_file(Principal.API)),
            "MONGARS_STATE": str(self.broker.folder),
            "MONGARS_HTTP_PORT": str(self.port),
            "MONGARS_RATE_LIMIT_PER_MINUTE": str(REQUESTS_PER_MINUTE),
            "MONGARS_RATE_LIMIT_FLUSH_S": "0.05",
            "MONGARS_LOGIN_DELAY_S": "60",
        }
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.api", env=environment)
        async with httpx.AsyncClient() as client, asyncio.timeout(STARTED_S):
            while not await self._alive(client):
                assert self.process.returncode is None, "the api ended at its start"
                await asyncio.sleep(0.02)

    async def end(self, signal: int) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal)
        async with asyncio.timeout(STARTED_S):
            return await self.process.wait()

    async def add_user(self, name: str, role: Role = Role.USER) -> str:
        user_id = secrets.token_hex(16)
        hashed = await asyncio.to_thread(hash_password, PASSWORD)
        await self.cli.request(CREATE_USER, CreateUser(user_id=user_id, name=name, role=role, password_hash=hashed))
        return user_id

    async def add_key(self, user_id: str) -> dict[str, str]:
        made = new_api_key()
        await self.cli.request(
            CREATE_KEY,
            CreateKey(
                key_id=secrets.token_hex(16),
                user_id=user_id,
                name="test",
                prefix=made.prefix,
                hash=made.hash,
                memory=MemoryMode.READ_WRITE,
            ),
        )
        return {"Authorization": f"Bearer {made.secret}"}

    async def _alive(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/healthz")).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[TestBroker]:
    async with TestBroker(tmp_path) as broker:
        (tmp_path / "keys" / "tokens.key").write_bytes(secrets.token_bytes(32))
        yield broker


@pytest.fixture
async def persistence(cluster: Cluster, tmp_path: Path, broker: TestBroker) -> AsyncIterator[RunningPersistence]:
    running = RunningPersistence.on(cluster, tmp_path / "persistence", broker.connect)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def gateway(broker: TestBroker, persistence: RunningPersistence) -> AsyncIterator[Gateway]:
    gateway = Gateway(broker, await broker.connect(Principal.CLI))
    await gateway.start()
    yield gateway
    await gateway.end(9)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as client:
        yield client
