"""A tiny language model, and an inference service in a process of its own against a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import HEALTH, NODE, Health, NodeTelemetry
from libs.shared.errors import ServiceError
from services.inference.backends.choose import Node
from tests.support import language_model
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker
from tests.support.small_node import small_node

START_TIMEOUT_S = 90.0
COMING = ("loading", "looking")
"""How words of models end that are not served yet."""


@pytest.fixture(scope="session")
def models() -> Path:
    """Holds ``tiny/`` and ``tiny.gguf``."""
    return language_model.cached()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return small_node(tmp_path)


def ask(model: str, text: str = "the cat sat on the mat", **sampling: Any) -> GenerateRequest:
    """A question of one message."""
    return GenerateRequest(
        request_id="r1",
        model=model,
        messages=(ChatMessage(role="user", content=text),),
        sampling=Sampling.model_validate(sampling),
    )


@dataclass
class RunningService:
    """An inference service, and what it told of itself."""

    process: Process
    cognition: Bus
    api: Bus
    scheduler: Bus
    told: list[NodeTelemetry] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def hear(self, message: NodeTelemetry) -> None:
        self.told.append(message)
        self._heard.set()

    async def until(
        self, condition: Callable[[NodeTelemetry], bool], timeout_s: float = START_TIMEOUT_S
    ) -> NodeTelemetry:
        """The newest telemetry, once it meets ``condition``."""
        async with asyncio.timeout(timeout_s):
            while not self.told or not condition(self.told[-1]):
                self._heard.clear()
                await self._heard.wait()
        return self.told[-1]

    async def replica_of(self, model: str, timeout_s: float = START_TIMEOUT_S) -> str:
        """Where ``model`` is served, once it is."""
        told = await self.until(lambda t: any(model in r.models for r in t.replicas), timeout_s)
        return next(replica.replica for replica in told.replicas if model in replica.models)

    async def generate(self, replica: str, request: GenerateRequest) -> list[GenerateChunk]:
        async with self.cognition.stream(GENERATE, request, replica=replica) as chunks:
            return [chunk async for chunk in chunks]

    async def health(self) -> Health:
        return await self.api.request(HEALTH[Principal.INFERENCE], Empty())

    async def until_ready(self) -> Health:
        return await self.until_health(lambda health: health.ready)

    async def until_loaded(self) -> Health:
        """Ready, and no model still under way: a node is ready before its last model has been loaded."""
        return await self.until_health(lambda h: h.ready and not any(w.endswith(COMING) for w in h.degraded))

    async def until_health(self, condition: Callable[[Health], bool]) -> Health:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                with suppress(ServiceError):
                    health = await self.health()
                    if condition(health):
                        return health
                await asyncio.sleep(0.1)


@asynccontextmanager
async def running(
    broker: TestBroker, state: Path, *, runtime: str = "inline", **environment: str
) -> AsyncIterator[RunningService]:
    """The service as a supervisor would start it; ended with SIGTERM, and killed if that isn't enough."""
    service = RunningService(
        await start(broker, state, runtime, environment),
        await broker.connect(Principal.COGNITION),
        await broker.connect(Principal.API),
        await broker.connect(Principal.SCHEDULER),
    )
    await service.scheduler.subscribe(NODE, service.hear)
    try:
        yield service
    finally:
        await stop(service.process)


async def start(broker: TestBroker, state: Path, runtime: str, environment: dict[str, str]) -> Process:
    (state / "models").mkdir(parents=True, exist_ok=True)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.inference",
        env=os.environ
        | {
            "MONGARS_STATE": str(state),
            "MONGARS_NATS_URL": broker.url,
            "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.INFERENCE)),
            "MONGARS_NODE_ID": NODE_ID,
            "MONGARS_INFERENCE_RUNTIME": runtime,
            "MONGARS_OLLAMA_URL": "none",
            "MONGARS_DEFAULT_CONTEXT_TOKENS": "512",
        }
        | environment,
    )


async def stop(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[TestBroker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    async with TestBroker(folder) as started:
        yield started


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"
