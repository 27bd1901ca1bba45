"""Local models on Ray Serve: one Ray for the whole file, started by the service as in an installation."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk
from libs.shared.contracts.telemetry import METRICS
from services.inference.ray_processes import OWNER_VARIABLE
from tests.integration.inference.conftest import RunningService, ask, running, start
from tests.support import adapters
from tests.support.broker import TestBroker

pytestmark = [pytest.mark.ray, pytest.mark.torch, pytest.mark.alone, pytest.mark.timeout(900)]
"""Ray alone keeps two cores busy while it starts."""
_STARTED_S = 240.0


def processes_of(state: Path) -> list[psutil.Process]:
    """Everything that this state folder's Ray started and that still runs."""
    owner = str((state / "ray").resolve())
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(OWNER_VARIABLE) == owner and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def state_of_module(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """Under a path that is far too long for a socket."""
    state = tmp_path_factory.mktemp("a-state-folder-with-a-name-that-no-unix-socket-could-ever-have-in-its-path")
    (state / "models").mkdir()
    shutil.copytree(models / "tiny", state / "models" / "tiny")
    return state


async def one_by_one(service: RunningService, replica: str) -> list[GenerateChunk]:
    return await service.generate(replica, ask("tiny", max_tokens=16, temperature=0.0))


async def test_the_life_of_a_model_on_ray_serve(tmp_path: Path, state_of_module: Path) -> None:
    """In one test, since Ray takes long to start: streaming, cancelling, metrics, a kill of a replica, a kill of the
    service, and an end that loses nothing and leaves nothing."""
    state = state_of_module
    async with TestBroker(tmp_path) as broker, running(broker, state, runtime="ray") as service:
        health = await service.until_ready()
        assert health.dependencies["runtime"].detail == "ray"
        replica = await service.replica_of("tiny", timeout_s=_STARTED_S)
        told = await service.until(lambda t: not t.degraded)
        assert told.runtime == "ray"
        await service.until(lambda t: "trial" in {model.rates.source for model in t.models})

        assert not listening_elsewhere_than_loopback(state)
        chunks = await one_by_one(service, replica)
        assert len([chunk for chunk in chunks if chunk.text]) >= 12
        assert chunks[-1].usage is not None

        await check_that_leaving_frees_the_replica(service, replica)
        await check_that_an_adapter_is_answered_with(service, replica, state)

        text = (await service.api.request(METRICS[Principal.INFERENCE], Empty())).text
        assert f'service="inference/{replica}"' in text
        assert "gen_ai_server_time_to_first_token" in text

        await kill_the_replica(service, state)
        await service.until(lambda t: "remembered" in {model.rates.source for model in t.models})
        replica = await service.replica_of("tiny", timeout_s=30)
        assert (await one_by_one(service, replica))[-1].usage is not None

        before = {process.pid for process in processes_of(state)}
        service.process.kill()
        await service.process.wait()
        service.told.clear()
        service.process = await start(broker, state, "ray", {})
        async with asyncio.timeout(20):
            await service.until_ready()
        replica = await service.replica_of("tiny", timeout_s=30)
        assert (await one_by_one(service, replica))[-1].usage is not None
        assert not before & {process.pid for process in processes_of(state)}

        asked = asyncio.create_task(service.generate(replica, ask("tiny", max_tokens=300, temperature=0.0)))
        await service.until(lambda t: t.in_flight == 1, timeout_s=5)
        service.process.terminate()
        async with asyncio.timeout(40):
            assert (await asked)[-1].usage is not None
            assert await service.process.wait() == 0
    assert processes_of(state) == []


async def check_that_leaving_frees_the_replica(service: RunningService, replica: str) -> None:
    async with service.cognition.stream(GENERATE, ask("tiny", max_tokens=400), replica=replica) as chunks:
        await anext(chunks)
        await service.until(lambda t: t.in_flight == 1, timeout_s=5)
    await service.until(lambda t: t.in_flight == 0, timeout_s=1)


async def check_that_an_adapter_is_answered_with(service: RunningService, replica: str, state: Path) -> None:
    request = ask("tiny", max_tokens=8, temperature=0.0)
    own = [chunk.text for chunk in await service.generate(replica, request)]
    adapters.write(state / "models", "ada", seed=0)
    await service.until(lambda t: "ada" in {name for model in t.models for name in model.adapters}, timeout_s=60)
    with_it = request.model_copy(update={"adapter": "ada"})
    assert [chunk.text for chunk in await service.generate(replica, with_it)] != own
    await service.until(lambda t: t.adapters == ("tiny:ada",))
    assert [chunk.text for chunk in await service.generate(replica, request)] == own


def listening_elsewhere_than_loopback(state: Path) -> list[str]:
    """Ray's processes with a port open to the network, but for replicas, whose one such port asks for the token."""
    return [
        process.name()
        for process in processes_of(state)
        if not process.name().startswith("ray::ServeReplica")
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and "127.0.0.1" not in connection.laddr.ip
    ]


async def kill_the_replica(service: RunningService, state: Path) -> None:
    """Its process, with SIGKILL; the node stops telling of it."""
    (victim,) = [
        child
        for process in processes_of(state)
        for child in _children(process)
        if child.name().startswith("ray::ServeRepl")
    ][:1]
    victim.kill()
    await service.until(lambda t: not any("tiny" in r.models for r in t.replicas), timeout_s=10)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []
