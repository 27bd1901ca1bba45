"""The service as a process, on a real broker and a database of its own: killed, stopped, cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from libs.shared.bus import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.common import Position
from libs.shared.contracts.telemetry import HEALTH, Health
from libs.shared.contracts.turns import READ_TURNS, ReadTurns, TurnCompleted
from libs.shared.errors import ServiceError
from libs.shared.sealing import new_key
from services.persistence.tables import SCHEMA_REVISION
from tests.support.broker import TestBroker
from tests.support.database import Cluster, running_cluster
from tests.support.persistence import Client

_PATIENCE_S = 45.0
"""Longest wait for a restarted process, on a machine that is busy with other things."""
WORDS = "canary-of-a-private-conversation"


class Process:
    """``python -m services.persistence`` in a state folder of its own."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        self.state = state
        self._environment = os.environ | environment | {"MONGARS_STATE": str(state)}
        self._running: subprocess.Popen[bytes] | None = None
        (state / "keys").mkdir(parents=True)
        (state / "keys" / "installation.key").write_bytes(new_key())
        self.log = state / "log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "services.persistence"]
            self._running = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def end(self, how: signal.Signals) -> int:
        assert self._running is not None
        self._running.send_signal(how)
        code = self._running.wait(timeout=20)
        self._running = None
        return code

    def wait(self) -> int:
        assert self._running is not None
        return self._running.wait(timeout=20)

    def logged(self) -> str:
        return self.log.read_text()

    def close(self) -> None:
        if self._running is not None:
            self.end(signal.SIGKILL)


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest_asyncio.fixture
async def real_broker(tmp_path: Path) -> AsyncIterator[TestBroker]:
    folder = tmp_path / "broker"
    await asyncio.to_thread(folder.mkdir)
    async with TestBroker(folder) as broker:
        yield broker


@pytest.fixture
def process(tmp_path: Path, own_cluster: Cluster, real_broker: TestBroker) -> Iterator[Process]:
    environment = {
        "MONGARS_DATABASE_URL": own_cluster.fresh_database(),
        "MONGARS_NATS_URL": real_broker.url,
        "MONGARS_NATS_SEED_FILE": str(real_broker.seed_file(Principal.PERSISTENCE)),
    }
    process = Process(tmp_path / "state", environment)
    yield process
    process.close()


@pytest_asyncio.fixture
async def outside(real_broker: TestBroker) -> Client:
    return Client(await real_broker.connect(Principal.API), await real_broker.connect(Principal.COGNITION))


async def health(bus: Bus) -> Health | None:
    try:
        return await bus.request(HEALTH[Principal.PERSISTENCE], Empty(), timeout_s=1.0)
    except ServiceError:
        return None


async def until_ready(bus: Bus, ready: bool = True) -> Health:
    """The first health that says so; a process's readiness can only be asked for."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            found = await health(bus)
            if found is not None and found.ready is ready:
                return found
            await asyncio.sleep(0.02)


async def texts(client: Client, user_id: str, conversation_id: str, after: Position) -> list[str]:
    """Read as cognition would, again while persistence comes back."""
    request = ReadTurns(user_id=user_id, conversation_id=conversation_id, read_after=after, max_messages=500)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            with suppress(ServiceError):
                return [m.text for m in (await client.cognition.request(READ_TURNS, request)).messages]
            await asyncio.sleep(0.05)


async def prepared_turns(client: Client, user_id: str, count: int) -> list[TurnCompleted]:
    return [await client.turn(user_id, "c1", f"{WORDS} {n}", f"answer {n}") for n in range(count)]


async def test_a_killed_process_loses_no_turn_and_doubles_none(process: Process, outside: Client) -> None:
    process.start()
    await until_ready(outside.bus)
    user_id = await outside.user()
    turns = await prepared_turns(outside, user_id, 60)
    for n, turn in enumerate(turns):
        position = await outside.publish(turn)
        if n in (9, 29, 49):
            process.end(signal.SIGKILL)
            process.start()
    expected = [text for n in range(60) for text in (f"{WORDS} {n}", f"answer {n}")]
    assert await texts(outside, user_id, "c1", position) == expected
    assert WORDS not in process.logged()
    assert user_id not in process.logged()


async def test_a_killed_database_loses_no_turn_and_is_found_again_without_a_restart(
    process: Process, outside: Client, own_cluster: Cluster
) -> None:
    process.start()
    await until_ready(outside.bus)
    user_id = await outside.user()
    turns = await prepared_turns(outside, user_id, 30)
    for n, turn in enumerate(turns):
        position = await outside.publish(turn)
        if n == 10:
            await asyncio.to_thread(own_cluster.stop, signal.SIGQUIT)
            sick = await until_ready(outside.bus, ready=False)
            assert not sick.dependencies["database"].ok
    await asyncio.to_thread(own_cluster.start)
    assert len(await texts(outside, user_id, "c1", position)) == 60
    assert (await until_ready(outside.bus)).dependencies["database"].detail == f"schema {SCHEMA_REVISION}"


async def test_persistence_starts_before_its_database(process: Process, outside: Client, own_cluster: Cluster) -> None:
    own_cluster.stop()
    process.start()
    assert not (await until_ready(outside.bus, ready=False)).dependencies["database"].ok
    await asyncio.to_thread(own_cluster.start)
    await until_ready(outside.bus)
    assert await outside.user()
    assert process.end(signal.SIGTERM) == 0


async def test_a_restarted_broker_is_found_again(process: Process, outside: Client, real_broker: TestBroker) -> None:
    process.start()
    await until_ready(outside.bus)
    user_id = await outside.user()
    turns = await prepared_turns(outside, user_id, 10)
    for turn in turns[:5]:
        await outside.publish(turn)
    await real_broker.stop(signal.SIGKILL)
    await real_broker.start()
    for turn in turns[5:]:
        position = await outside.publish(turn)
    assert len(await texts(outside, user_id, "c1", position)) == 20


async def test_a_process_with_a_newer_database_says_so_and_ends(
    process: Process, own_cluster: Cluster, outside: Client
) -> None:
    database = process._environment["MONGARS_DATABASE_URL"].split("@/")[1].split("?")[0]
    own_cluster.sql("UPDATE alembic_version SET version_num = '9999'", database)
    process.start()
    assert await asyncio.to_thread(process.wait) == 1
    assert "install the newer release" in process.logged()


async def test_a_process_without_its_installation_key_says_so_and_ends(process: Process, outside: Client) -> None:
    (process.state / "keys" / "installation.key").unlink()
    process.start()
    assert await asyncio.to_thread(process.wait) == 1
    assert "installation key" in process.logged()


def lose_the_slot_file(state: Path) -> None:
    (state / "slots" / "data-keys.slots").unlink()


def cut_the_slot_file(state: Path) -> None:
    os.truncate(state / "slots" / "data-keys.slots", 100)


def swap_the_installation_key(state: Path) -> None:
    (state / "keys" / "installation.key").write_bytes(new_key())


@pytest.mark.parametrize("damage", [lose_the_slot_file, cut_the_slot_file, swap_the_installation_key])
async def test_keys_that_do_not_fit_the_database_are_refused_until_they_are_restored(
    process: Process, outside: Client, damage: Callable[[Path], None]
) -> None:
    process.start()
    await until_ready(outside.bus)
    user_id = await outside.user()
    position = await outside.publish(await outside.turn(user_id, "c1", WORDS, "answer"))
    await texts(outside, user_id, "c1", position)
    assert process.end(signal.SIGTERM) == 0
    kept = {path: path.read_bytes() for path in (*process.state.glob("slots/*"), *process.state.glob("keys/*"))}
    damage(process.state)
    process.start()
    assert await asyncio.to_thread(process.wait) == 1
    assert "restore it from a backup" in process.logged()
    for path, content in kept.items():
        path.write_bytes(content)
    process.start()
    assert await texts(outside, user_id, "c1", position) == [WORDS, "answer"]
