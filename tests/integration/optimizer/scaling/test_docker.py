"""Containers of one compose project on a real engine: another like the first, none killed, nobody else's touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
import pytest_asyncio

from services.optimizer.scaling import docker as scaling
from services.optimizer.scaling.base import Bounds, Count, NotOurs, ScalingError
from services.optimizer.scaling.docker import Containers
from tests.support.engine import Engine, engine

BOUNDS = {"cognition": Bounds(1, 4)}
SOON_S = 60.0


@pytest.fixture(scope="module")
def started() -> Iterator[Engine]:
    with engine() as found:
        yield found


@pytest.fixture
def docker(started: Engine) -> Iterator[Engine]:
    started.begin("home", "cognition", 1, mem_limit=64 * 2**20)
    yield started
    started.clear()


@pytest_asyncio.fixture
async def ours(docker: Engine) -> AsyncIterator[Containers]:
    made = Containers(docker.url, "home", BOUNDS)
    yield made
    await made.close()


async def becomes(seen: Callable[[], bool]) -> None:
    """Asks until it is so: what containers do shows only from outside."""

    def wait() -> None:
        deadline, pause = monotonic() + SOON_S, Event()
        while not seen():
            assert monotonic() < deadline
            pause.wait(0.05)

    await asyncio.to_thread(wait)


def begun(out: Path, count: int) -> Callable[[], bool]:
    return lambda: len(list(out.glob("begun-*"))) >= count


def ended(out: Path) -> int:
    return len([path for path in out.iterdir() if not path.name.startswith("begun-")])


async def test_another_is_made_like_the_first_and_goes_once_it_has_ended_its_work(
    docker: Engine, ours: Containers
) -> None:
    assert await ours.counts() == {"cognition": Count(1, 1, 1, 4)}
    await ours.scale("cognition", 3)
    assert (await ours.counts())["cognition"] == Count(3, 3, 1, 4)
    first, second = (docker.client.inspect_container(f"home-cognition-{number}") for number in (1, 2))
    assert second["Config"]["Env"] == first["Config"]["Env"]
    assert second["Config"]["Cmd"] == first["Config"]["Cmd"]
    assert second["HostConfig"]["Memory"] == first["HostConfig"]["Memory"] == 64 * 2**20
    assert second["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    await becomes(begun(docker.out, 3))
    await ours.scale("cognition", 1)
    assert (await ours.counts())["cognition"] == Count(1, 1, 1, 4), "those that leave don't count"
    await becomes(lambda: docker.states("home") == {"home-cognition-1": "running"})
    assert ended(docker.out) == 2


async def test_one_that_is_killed_instead_ends_nothing(
    docker: Engine, ours: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "STOP_WAIT_S", 0)
    await ours.scale("cognition", 2)
    await becomes(begun(docker.out, 2))
    await ours.scale("cognition", 1)
    await becomes(lambda: docker.states("home") == {"home-cognition-1": "running"})
    assert ended(docker.out) == 0


async def test_what_compose_made_is_stopped_and_started_again_not_removed(docker: Engine, ours: Containers) -> None:
    await becomes(begun(docker.out, 1))
    await ours.scale("cognition", 0)
    await becomes(lambda: docker.states("home") == {"home-cognition-1": "exited"})
    assert (await ours.counts())["cognition"] == Count(0, 0, 1, 4)
    await ours.scale("cognition", 1)
    assert docker.states("home") == {"home-cognition-1": "running"}


async def test_another_projects_containers_and_other_services_are_left_alone(docker: Engine, ours: Containers) -> None:
    docker.begin("elsewhere", "cognition", 1)
    docker.begin("home", "database", 1)
    await ours.scale("cognition", 2)
    await ours.scale("cognition", 0)
    await becomes(lambda: docker.states("home").get("home-cognition-1") == "exited")
    assert docker.states("elsewhere") == {"elsewhere-cognition-1": "running"}
    assert docker.states("home")["home-database-1"] == "running"
    with pytest.raises(NotOurs):
        await ours.scale("database", 0)


async def test_without_the_projects_label_in_the_question_others_would_be_stopped(
    docker: Engine, ours: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "PROJECT", "com.docker.compose.oneoff")
    monkeypatch.setattr(ours, "_project", "False")
    docker.begin("elsewhere", "cognition", 2)
    await ours.scale("cognition", 1)
    await becomes(lambda: docker.states("elsewhere") == {"elsewhere-cognition-2": "exited"})


async def test_a_service_that_is_not_there_is_not_made(docker: Engine) -> None:
    others = Containers(docker.url, "nowhere", BOUNDS)
    assert await others.counts() == {}
    with pytest.raises(NotOurs, match="no container"):
        await others.scale("cognition", 2)
    await others.close()


async def test_a_port_of_the_machine_can_t_be_had_twice(docker: Engine) -> None:
    docker.client.create_container(
        "worker:1",
        ["/bin/busybox", "sleep", "1"],
        labels={
            "com.docker.compose.project": "ported",
            "com.docker.compose.service": "cognition",
            "com.docker.compose.oneoff": "False",
        },
        ports=[80],
        host_config=docker.client.create_host_config(port_bindings={80: 8080}),
        name="ported-cognition-1",
    )
    others = Containers(docker.url, "ported", BOUNDS)
    with pytest.raises(ScalingError, match="has a port"):
        await others.scale("cognition", 3)
    await others.close()


async def test_an_engine_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    away = Containers(f"unix://{tmp_path}/none.sock", "home", BOUNDS)
    with pytest.raises(ScalingError, match="engine"):
        await away.counts()
