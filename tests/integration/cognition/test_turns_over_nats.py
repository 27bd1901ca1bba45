"""Turns over a real broker, with the real scheduler, under the services' own permissions."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, Sampling
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.jobs import JobState
from libs.shared.contracts.memory import SEARCH_MEMORY, SearchMemory
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import LIST_NODES
from libs.shared.contracts.sessions import SESSIONS, Session
from libs.shared.contracts.telemetry import NODE, Replica
from libs.shared.errors import AdapterNotFound, Unavailable
from services.cognition import keeping
from services.cognition.adapters import OwnedAdapters
from services.cognition.presence import LanguageModel
from services.cognition.service import serve as serve_cognition
from services.cognition.settings import CognitionSettings
from services.inference.backends.choose import make_backend
from services.inference.models import ModelSpec
from services.inference.replica import Identity
from services.inference.replica import Replica as Served
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.service import serve as serve_scheduler
from tests.support import adapters, language_model
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker
from tests.support.small_node import small_node
from tests.unit.cognition import household
from tests.unit.cognition.conftest import request
from tests.unit.cognition.household import USAGE, Inference, Persistence
from tests.unit.cognition.test_indexing import message
from tests.unit.scheduler.clusters import node

LIMIT_S = 10
CANCEL_LIMIT_S = 0.1


@dataclass
class House:
    """A broker with the real cognition and scheduler, and small services in the place of the others."""

    broker: TestBroker
    api: Bus
    inference: Inference
    persistence: Persistence

    async def ask(self, **fields: Any) -> list[ChatChunk]:
        async with self.api.stream(CHAT, request(**fields)) as chunks:
            return [chunk async for chunk in chunks]

    async def ask_until_served(self, **fields: Any) -> list[ChatChunk]:
        """Asks again while not every service is back on the broker."""
        while True:
            try:
                return await self.ask(**fields)
            except Unavailable:
                await self.api.bucket(SESSIONS).get("u1")

    async def speak(self, *replicas: str) -> None:
        """The node's telemetry, heard once the scheduler lists it."""
        queues = tuple(Replica(replica=r, models=("llama",)) for r in replicas)
        await self.inference.bus.broadcast(NODE, node(NODE_ID, replicas=queues))
        async with asyncio.timeout(LIMIT_S):
            while not (await self.api.request(LIST_NODES, Empty())).nodes:
                pass


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(TestBroker(tmp_path))
        persistence = Persistence(await broker.connect(Principal.PERSISTENCE))
        await persistence.start()
        scheduler = await broker.connect(Principal.SCHEDULER)
        scheduling = Scheduling(
            scheduler, Registry(RegistryRules(), monotonic), Grace(0.0, monotonic), RuntimeSettings, monotonic
        )
        await serve_scheduler(scheduler, scheduling)
        cognition = await broker.connect(Principal.COGNITION)
        await serve_cognition(
            cognition, CognitionSettings(), RuntimeSettings, LanguageModel(cognition), OwnedAdapters(cognition)
        )
        inference = Inference(await broker.connect(Principal.INFERENCE))
        yield House(broker, await broker.connect(Principal.API), inference, persistence)


async def whole(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your dog is Rex.")
    yield GenerateChunk(finish_reason="stop", usage=USAGE)


async def test_a_turn_is_kept_on_the_stream_and_the_session_moves_on(house: House) -> None:
    await house.inference.bus.serve_stream(GENERATE, whole, replica=f"{NODE_ID}-0")
    await house.speak(f"{NODE_ID}-0")
    house.persistence.remember("My dog is called Rex.")
    chunks = await house.ask(explain=True)
    last = chunks[-1]
    assert last.position is not None
    assert "My dog is called Rex." in (chunks[0].prompt or ())[0].text
    async with asyncio.timeout(LIMIT_S):
        await house.persistence.applied.wait()
    texts = house.persistence.texts(house.persistence.turns[0])
    assert texts == [("user", "What is my dog called?"), ("assistant", "Your dog is Rex.")]
    session = await house.api.bucket(SESSIONS).get("u1")
    assert session is not None
    assert Session.model_validate_json(session).position == last.position


async def check_sealed(house: House) -> None:
    """No byte that the broker keeps tells what was said."""
    canary = "zanzibar-marmalade"
    await house.inference.bus.serve_stream(GENERATE, whole, replica=f"{NODE_ID}-0")
    await house.speak(f"{NODE_ID}-0")
    await house.ask(text=f"My dog eats {canary}.")
    async with asyncio.timeout(LIMIT_S):
        await house.persistence.applied.wait()
    assert canary in house.persistence.texts(house.persistence.turns[0])[0][1]
    await house.broker.stop()
    stored = b"".join(path.read_bytes() for path in house.broker.folder.rglob("*") if path.is_file())
    await house.broker.start()
    assert house.persistence.turns[0].turn_id.encode() in stored, "the search looks in the right place"
    assert canary.encode() not in stored
    assert b64encode(canary.encode()).rstrip(b"=")[1:-1] not in stored


async def test_what_was_said_lies_on_the_stream_sealed(house: House) -> None:
    await check_sealed(house)


async def test_an_unsealed_turn_would_be_noticed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "seal", lambda key, plain: plain)
    monkeypatch.setattr(household, "unseal", lambda key, sealed: sealed)
    with pytest.raises(AssertionError):
        await check_sealed(house)


async def test_a_dead_replica_before_the_first_token_is_not_noticed(house: House) -> None:
    await house.inference.bus.serve_stream(GENERATE, whole, replica=f"{NODE_ID}-1")
    await house.speak(f"{NODE_ID}-0", f"{NODE_ID}-1")
    for number in range(4):
        chunks = await house.ask(turn_id=f"t{number}", memory=MemoryMode.OFF)
        assert "".join(c.text for c in chunks) == "Your dog is Rex."
        assert chunks[0].degraded is None


async def check_cancellation(house: House) -> float:
    """Seconds from the client's leaving until the replica's generation was closed."""
    closed: list[float] = []
    ended = asyncio.Event()

    async def endless(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        try:
            yield GenerateChunk(text="Your dog ")
            await asyncio.Event().wait()
        finally:
            closed.append(monotonic())
            ended.set()

    await house.inference.bus.serve_stream(GENERATE, endless, replica=f"{NODE_ID}-0")
    await house.speak(f"{NODE_ID}-0")
    async with asyncio.timeout(LIMIT_S):
        async with house.api.stream(CHAT, request()) as chunks:
            await anext(chunks)
        left = monotonic()
        await ended.wait()
    return closed[0] - left


@pytest.mark.alone
async def test_a_client_that_leaves_stops_the_replica_within_a_tenth_of_a_second(house: House) -> None:
    assert await check_cancellation(house) < CANCEL_LIMIT_S
    async with asyncio.timeout(LIMIT_S):
        await house.persistence.applied.wait()
    assert house.persistence.turns[0].partial


async def test_a_broker_restart_costs_no_later_turn(house: House) -> None:
    await house.inference.bus.serve_stream(GENERATE, whole, replica=f"{NODE_ID}-0")
    await house.speak(f"{NODE_ID}-0")
    await house.ask(turn_id="t1")
    await house.broker.stop()
    await house.broker.start()
    async with asyncio.timeout(LIMIT_S):
        chunks = await house.ask_until_served(turn_id="t2")
    assert chunks[-1].position is not None
    assert chunks[0].degraded is None


async def test_messages_to_index_are_consumed_and_the_job_finished(house: House) -> None:
    house.persistence.unindexed = [message(0)]
    await house.speak(f"{NODE_ID}-0")
    asked = IndexRequested(user_id="u1", conversation_id="c1", message_ids=("m0",))
    await house.persistence.bus.publish(INDEX_REQUESTED, asked, message_id="job-1")
    async with asyncio.timeout(LIMIT_S):
        while not house.persistence.indexed:
            await house.api.request(LIST_NODES, Empty())
    assert house.persistence.indexed[0].rows[0].terms == {"dog": 1, "rex": 1}
    assert JobState.DONE not in {j.state for j in house.persistence.jobs}, "the vectors are still missing"


async def test_a_search_works_under_the_broker_s_permissions(house: House) -> None:
    house.persistence.remember("My dog is called Rex.")
    found = await house.api.request(SEARCH_MEMORY, SearchMemory(user_id="u1", query="my dog"))
    assert [item.text for item in found.items] == ["My dog is called Rex."]


async def test_a_model_s_name_with_an_adapter_s_is_answered_with_that_one(house: House, tmp_path: Path) -> None:
    """From the name in the request to llama.cpp and back, the scheduler between."""
    models = tmp_path / "models"
    adapters.write_gguf(models, "ada", seed=0)
    about = small_node(models)
    path = language_model.cached() / language_model.GGUF_FILE
    backend = make_backend(ModelSpec(name="tiny", backend="llama_cpp", path=path), about)
    replica = Served(Identity(NODE_ID, f"{NODE_ID}-0", "boot"), backend, max_queue=4, changed=lambda urgent: None)
    await replica.serve(house.inference.bus)
    told = replica.snapshot()
    await house.inference.bus.broadcast(NODE, node(NODE_ID, models=told.models, replicas=(told.state,)))
    async with asyncio.timeout(LIMIT_S):
        while not (await house.api.request(LIST_NODES, Empty())).nodes:
            pass
    sampling = Sampling(max_tokens=8, temperature=0.0)
    answers = {}
    for name in ("tiny", "tiny:ada", "chat:ada"):
        chunks = await house.ask(model=name, memory=MemoryMode.OFF, sampling=sampling, turn_id=name.replace(":", "-"))
        answers[name] = (chunks[0].model, "".join(chunk.text for chunk in chunks))
    assert [model for model, _ in answers.values()] == ["tiny", "tiny:ada", "tiny:ada"]
    assert answers["tiny:ada"] == answers["chat:ada"]
    assert answers["tiny:ada"][1] != answers["tiny"][1]
    with pytest.raises(AdapterNotFound):
        await house.ask(model="tiny:bea", memory=MemoryMode.OFF)
    await backend.close()
