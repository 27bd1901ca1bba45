"""A late first token over a real broker, with the real scheduler: another node answers, and the slow one is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import CHAT, ChatChunk
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import LIST_NODES, OUTCOME, Outcome
from libs.shared.contracts.telemetry import NODE, Replica
from services.cognition import racing
from services.cognition.adapters import OwnedAdapters
from services.cognition.hedging import FEWEST
from services.cognition.presence import LanguageModel
from services.cognition.service import serve as serve_cognition
from services.cognition.settings import CognitionSettings
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.service import serve as serve_scheduler
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker
from tests.unit.cognition.conftest import request
from tests.unit.cognition.household import USAGE, Persistence
from tests.unit.cognition.test_second_copy import hedges
from tests.unit.scheduler.clusters import node

LIMIT_S = 60
OTHER_ID = "other"
NODES = (NODE_ID, OTHER_ID)


@dataclass
class Nodes:
    """Two, one replica each. Whichever is asked first is silent once ``slow`` is set, until its ``release``."""

    slow: bool = False
    release: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    stopped: dict[str, asyncio.Event] = field(default_factory=lambda: {n: asyncio.Event() for n in NODES})

    def of(self, name: str) -> Callable[[GenerateRequest], AsyncIterator[GenerateChunk]]:
        async def generate(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            self.asked.append(name)
            try:
                if self.slow and len(self.asked) == 1:
                    await self.release.wait()
                yield GenerateChunk(text=f"{name} says ")
                if self.slow and len(self.asked) > 1:
                    await self.stopped[self.asked[0]].wait()
                yield GenerateChunk(text="Rex.")
                yield GenerateChunk(finish_reason="stop", usage=USAGE)
            finally:
                self.stopped[name].set()

        return generate

    def turn_slow(self) -> None:
        """From the next request on."""
        self.slow = True
        self.asked.clear()
        for event in self.stopped.values():
            event.clear()


@dataclass
class House:
    """The real scheduler and cognition on a broker, and two nodes."""

    api: Bus
    nodes: Nodes
    registry: Registry
    outcomes: list[Outcome]

    async def ask(self, turn: str) -> list[ChatChunk]:
        async with self.api.stream(CHAT, request(turn_id=turn, memory=MemoryMode.OFF)) as chunks:
            return [chunk async for chunk in chunks]

    async def warm(self) -> None:
        """Until it is known when a first token is late, and a second copy is earned."""
        for number in range(FEWEST):
            await self.ask(f"before-{number}")
        await self.until(lambda: len(self.outcomes) == FEWEST and not self.under_way())
        self.outcomes.clear()

    def under_way(self) -> int:
        """Requests that the scheduler counts as ahead of others."""
        return sum(len(c.queue.under_way.requests) for c in self.registry.snapshot().candidates["llama"])

    async def until(self, reached: Callable[[], bool]) -> None:
        """Returns once it is so; each look is a round over the broker."""
        async with asyncio.timeout(LIMIT_S):
            while not reached():
                await self.api.request(LIST_NODES, Empty())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(TestBroker(tmp_path, nodes=NODES))
        await Persistence(await broker.connect(Principal.PERSISTENCE)).start()
        scheduler, outcomes = await broker.connect(Principal.SCHEDULER), []
        registry = Registry(RegistryRules(silent_s=3600.0), monotonic)
        in_force = RuntimeSettings(hedging=True)
        await serve_scheduler(
            scheduler, Scheduling(scheduler, registry, Grace(0.0, monotonic), lambda: in_force, monotonic)
        )

        async def hear(outcome: Outcome) -> None:
            outcomes.append(outcome)

        await (await broker.connect(Principal.SCHEDULER)).subscribe(OUTCOME, hear)
        nodes = Nodes()
        for name in NODES:
            bus = await broker.connect(Principal.INFERENCE, node=name)
            await bus.serve_stream(GENERATE, nodes.of(name), replica=f"{name}-0")
            queue = Replica(replica=f"{name}-0", models=("llama",))
            await bus.broadcast(NODE, node(name, replicas=(queue,)))
        cognition = await broker.connect(Principal.COGNITION)
        await serve_cognition(
            cognition, CognitionSettings(), lambda: in_force, LanguageModel(cognition), OwnedAdapters(cognition)
        )
        found = House(await broker.connect(Principal.API), nodes, registry, outcomes)
        await found.until(lambda: len(registry.telemetry()) == len(NODES))
        yield found


async def check_the_other_answers(house: House) -> None:
    """The other node goes on with its answer only once the slow one has been stopped."""
    house.nodes.turn_slow()
    async with asyncio.timeout(LIMIT_S):
        chunks = await house.ask("late")
    slow, quick = house.nodes.asked
    assert {slow, quick} == set(NODES)
    assert "".join(chunk.text for chunk in chunks) == f"{quick} says Rex."
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    await house.until(lambda: len(house.outcomes) == 2 and not house.under_way())
    told = {outcome.node_id: outcome for outcome in house.outcomes}
    assert (told[slow].ok, told[slow].reason, told[quick].ok) == (None, None, True)
    numbers = [outcome.ticket.number for outcome in house.outcomes if outcome.ticket is not None]
    assert sorted(numbers) == [FEWEST + 1, FEWEST + 2]
    assert not house.registry.snapshot().breakers


async def test_a_late_first_token_comes_from_the_other_node_and_the_slow_one_stops(house: House) -> None:
    await house.warm()
    await check_the_other_answers(house)


async def test_a_second_copy_without_a_stop_of_the_first_would_be_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.warm()
    monkeypatch.setattr(racing, "_outrun", lambda loser, task: setattr(loser, "outrun", True))
    monkeypatch.setattr("tests.integration.cognition.test_hedging_over_nats.LIMIT_S", 3)
    with pytest.raises(TimeoutError):
        await check_the_other_answers(house)


async def test_with_no_other_node_the_slow_one_is_waited_for(house: House) -> None:
    await house.warm()
    house.nodes.turn_slow()
    drained = house.registry.telemetry()[0].node_id
    house.registry.set_draining(drained, True)
    before = hedges("no_node")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(house.ask("late"))
        await house.until(lambda: hedges("no_node") > before)
        house.nodes.release.set()
    (left,) = set(NODES) - {drained}
    assert "".join(chunk.text for chunk in asking.result()) == f"{left} says Rex."
    assert house.nodes.asked == [left]
    await house.until(lambda: len(house.outcomes) == 1 and not house.under_way())
    assert house.outcomes[0].ok
