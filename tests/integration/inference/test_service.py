"""One node's inference as a process, inline, against a real broker."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from libs.shared.contracts.inference import EMBED, GENERATE, SET_DRAINING, EmbedRequest, SetDraining
from libs.shared.errors import ModelNotFound, ServiceError
from tests.integration.inference.conftest import COMING, RunningService, ask, running, start, stop
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker

ANSWER_TOKENS = 400


@pytest.fixture
def furnished(state: Path, models: Path) -> Path:
    """A state folder with the tiny model, a file that is none, and one that is cut short."""
    folder = state / "models"
    folder.mkdir(parents=True)
    shutil.copy(models / "tiny.gguf", folder)
    (folder / "broken.gguf").write_bytes(b"GGUF but not really")
    whole = (models / "tiny.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    return state


async def test_a_node_embeds_generates_and_says_what_is_broken(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        health = await service.until_ready()
        assert set(health.dependencies) == {"embedder", "runtime"}
        replica = await service.replica_of("tiny")
        told = await service.until(lambda t: not any(word.endswith(COMING) for word in t.degraded))
        assert told.degraded == ("broken: model_broken", "cut: model_broken")
        assert (told.runtime, told.node_id) == ("inline", NODE_ID)
        assert told.memory.total_mib > 0
        chunks = await service.generate(replica, ask("tiny", max_tokens=8))
        assert len([chunk for chunk in chunks if chunk.text]) >= 6
        vectors = await service.api.request(
            EMBED, EmbedRequest(model="all-MiniLM-L6-v2", texts=("hello",)), replica=f"{NODE_ID}-0"
        )
        assert (vectors.dimensions, len(vectors.vectors[0])) == (384, 384 * 4)
        with pytest.raises(ModelNotFound):
            await service.api.request(EMBED, EmbedRequest(model="other", texts=("x",)), replica=f"{NODE_ID}-0")
        assert (await service.until_loaded()).degraded == told.degraded


@pytest.mark.alone
async def test_load_is_told_at_once(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        replica = await service.replica_of("tiny")
        async with service.cognition.stream(GENERATE, ask("tiny", max_tokens=ANSWER_TOKENS), replica=replica) as chunks:
            await anext(chunks)
            busy = await service.until(lambda t: t.in_flight == 1, timeout_s=0.5)
            assert busy.in_flight_tokens > 0
        await service.until(lambda t: t.in_flight == 0, timeout_s=0.5)


@pytest.mark.alone
async def test_draining_is_told_at_once_and_requests_still_answered(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        replica = await service.replica_of("tiny")
        drained = await service.scheduler.request(SET_DRAINING, SetDraining(draining=True), node=NODE_ID)
        assert drained.draining
        told = await service.until(lambda t: t.draining, timeout_s=0.5)
        assert all(state.draining for state in told.replicas)
        assert (await service.generate(replica, ask("tiny", max_tokens=4)))[-1].usage
        await service.scheduler.request(SET_DRAINING, SetDraining(draining=False), node=NODE_ID)
        await service.until(lambda t: not t.draining, timeout_s=0.5)


async def check_that_what_is_in_flight_is_answered(service: RunningService, how: signal.Signals) -> None:
    """Four long answers are under way when the service is told to stop: each reaches its end."""
    replica = await service.replica_of("tiny")
    asked = [asyncio.create_task(service.generate(replica, ask("tiny", max_tokens=ANSWER_TOKENS))) for _ in range(4)]
    await service.until(lambda t: t.in_flight + t.queued == 4, timeout_s=5)
    service.process.send_signal(how)
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert not [a for a in answers if isinstance(a, BaseException) or a[-1].usage is None], answers


async def test_stopping_loses_nothing_that_is_in_flight(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        await check_that_what_is_in_flight_is_answered(service, signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await service.process.wait() == 0


async def test_the_check_of_stopping_notices_a_kill(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        with pytest.raises((AssertionError, ServiceError, TimeoutError)):
            await check_that_what_is_in_flight_is_answered(service, signal.SIGKILL)


@pytest.mark.alone
async def test_a_killed_node_is_back_within_five_seconds(broker: TestBroker, furnished: Path) -> None:
    async with running(broker, furnished) as service:
        await service.until_ready()
        first = await service.until(lambda t: True)
        service.process.kill()
        await service.process.wait()
        service.process = again = await start(broker, furnished, "inline", {})
        try:
            told = await service.until(lambda t: t.boot_id != first.boot_id, timeout_s=5)
            assert told.sequence < first.sequence + 100
            await service.replica_of("tiny", timeout_s=5)
        finally:
            await stop(again)


async def test_auto_without_a_model_needs_no_ray(broker: TestBroker, state: Path) -> None:
    async with running(broker, state, runtime="auto") as service:
        health = await service.until_loaded()
        assert (health.dependencies["runtime"].detail, health.degraded) == ("inline", ())
