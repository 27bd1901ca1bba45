"""A real model on a real node tells of its pace before anyone has asked it, and after a restart at once."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from libs.shared.contracts.telemetry import NodeTelemetry, Rates
from services.inference.backends.choose import Node, make_backend
from services.inference.models import ModelSpec
from services.inference.replica import Identity, Replica
from tests.integration.inference.conftest import RunningService, ask, running
from tests.support.broker import TestBroker

SENTENCES = "my sister lives in a small house near the lake and reads the news every morning "


@pytest.fixture
def furnished(state: Path, models: Path) -> Path:
    folder = state / "models"
    folder.mkdir(parents=True)
    shutil.copy(models / "tiny.gguf", folder)
    return state


def rates(told: NodeTelemetry) -> Rates:
    return next((model.rates for model in told.models if model.name == "tiny"), Rates())


async def first_told(service: RunningService) -> Rates:
    """The first rates that the node tells of its model."""
    return rates(await service.until(lambda told: rates(told).generated_tokens_per_s is not None))


async def shown_by_requests(service: RunningService, requests: int) -> Rates:
    """What the first requests measure."""
    replica = await service.replica_of("tiny")
    for number in range(requests):
        await service.generate(replica, ask("tiny", f"{number} " + SENTENCES * 5, max_tokens=100))
    answered = len(service.told)
    return rates(await service.until(lambda told: len(service.told) > answered and rates(told).source == "requests"))


async def test_a_node_tells_its_pace_before_anyone_asks_and_a_restart_begins_from_it(
    broker: TestBroker, furnished: Path
) -> None:
    async with running(broker, furnished) as service:
        told = await first_told(service)
        assert (told.source, told.measured_at is not None, told.answer_tokens) == ("trial", True, None)
        assert told.prompt_tokens_per_s
        shown = await shown_by_requests(service, 1)
    async with running(broker, furnished) as service:
        again = await first_told(service)
        assert again.source == "remembered"
        assert again.generated_tokens_per_s == pytest.approx(shown.generated_tokens_per_s, rel=0.01)


async def test_a_trial_leaves_a_real_model_to_the_request_that_comes(models: Path, node: Node) -> None:
    """The trial's answer would be of 400 tokens; the request has its own as soon as it comes."""
    backend = make_backend(ModelSpec(name="tiny", backend="llama_cpp", path=models / "tiny.gguf"), node)
    await backend.load(lambda: None)
    replica = Replica(Identity("node-a", "node-a-1", "boot"), backend, max_queue=1, changed=lambda urgent: None)
    replica._take_models()
    trying = asyncio.create_task(replica.try_out(ask("tiny", max_tokens=400), 60.0))
    async with asyncio.timeout(60):
        while not replica._way.trying:  # noqa: ASYNC110 - it has begun when it can be ended
            await asyncio.sleep(0)
        answer = [chunk async for chunk in replica.generate(ask("tiny", max_tokens=4))]
        assert await trying is None
    assert answer[-1].usage
    await replica.close()
