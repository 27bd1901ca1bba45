"""A household in memory: cognition on a bus, and small services around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatMessage, ChatRequest
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.ledger import Trial
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.runtime_settings import in_use
from services.cognition.adapters import OwnedAdapters
from services.cognition.presence import LanguageModel
from services.cognition.service import serve
from services.cognition.settings import CognitionSettings
from tests.unit.cognition.household import LLAMA, Answers, Inference, Persistence, Scheduler


@dataclass
class Household:
    """Everything a test of cognition touches."""

    api: Bus
    cognition: Bus
    persistence: Persistence
    inference: Inference
    scheduler: Scheduler
    optimizer: Bus
    in_force: RuntimeSettings = field(default_factory=RuntimeSettings)
    trial: Trial | None = None
    adapters: OwnedAdapters = field(init=False)

    async def ask(self, request: ChatRequest) -> list[ChatChunk]:
        async with self.api.stream(CHAT, request) as chunks:
            return [chunk async for chunk in chunks]


Build = Callable[..., Awaitable[Household]]


def request(text: str = "What is my dog called?", **fields: object) -> ChatRequest:
    about: dict[str, object] = {
        "turn_id": "t1",
        "user_id": "u1",
        "messages": (ChatMessage(role="user", content=text),),
        "memory": MemoryMode.READ_WRITE,
    }
    return ChatRequest.model_validate(about | fields)


async def build(
    stack: AsyncExitStack,
    *answers: Answers,
    model: ServedModel = LLAMA,
    embedder: bool = False,
    persistence: bool = True,
    scheduler: bool = True,
    runtime: RuntimeSettings | None = None,
    **settings: object,
) -> Household:
    """``answers`` are what the replicas do, one each; without any there is no language model."""
    broker = MemoryBroker()
    buses: dict[Principal, Bus] = {}
    for principal in (
        Principal.PERSISTENCE,
        Principal.INFERENCE,
        Principal.SCHEDULER,
        Principal.COGNITION,
        Principal.API,
        Principal.OPTIMIZER,
    ):
        buses[principal] = await broker.connect(principal)
        stack.push_async_callback(buses[principal].drain, 1.0)
    home = Household(
        buses[Principal.API],
        buses[Principal.COGNITION],
        Persistence(buses[Principal.PERSISTENCE]),
        Inference(buses[Principal.INFERENCE]),
        Scheduler(buses[Principal.SCHEDULER], len(answers), model, embedder),
        buses[Principal.OPTIMIZER],
    )
    if persistence:
        await home.persistence.start()
    await home.inference.start(*answers)
    if embedder:
        await home.inference.start_embedder()
    if scheduler:
        await home.scheduler.start()
    chosen = CognitionSettings.model_validate({"restart_patience_s": 0.0} | settings)
    home.in_force = runtime or RuntimeSettings()
    home.adapters = OwnedAdapters(home.cognition)
    await serve(
        home.cognition,
        chosen,
        lambda: home.in_force,
        LanguageModel(home.cognition),
        home.adapters,
        in_use=lambda: in_use(home.in_force, home.trial, datetime.now(UTC)),
    )
    return home


@pytest.fixture
async def household() -> AsyncIterator[Build]:
    async with AsyncExitStack() as stack:
        yield partial(build, stack)
