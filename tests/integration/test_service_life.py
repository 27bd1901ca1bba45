"""A service process from its start to its drain, on a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.scheduling import DRAIN, PLACE, NodeRef, PlaceRequest
from libs.shared.contracts.telemetry import HEALTH, METRICS
from libs.shared.errors import NoNode, ServiceError, Unavailable
from tests.support.broker import TestBroker, free_port

PATIENCE_S = 20


@asynccontextmanager
async def small_service(broker: TestBroker, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.small_service",
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "MONGARS_NATS_URL": broker.url,
            "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.SCHEDULER)),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ready(broker: TestBroker) -> Any:
    """The service's health, as soon as it answers; it registers before and serves health last."""
    bus = await broker.connect(Principal.API)
    while True:
        try:
            return await bus.request(HEALTH[Principal.SCHEDULER], Empty(), timeout_s=2)
        except ServiceError:
            await asyncio.sleep(0.05)


async def _ask_all(client: Any, subject: str) -> list[dict[str, Any]]:
    """Every answer to one request of the service protocol, until it is quiet."""
    inbox, answers = client.new_inbox(), []
    subscription = await client.subscribe(inbox)
    await client.publish(subject, b"", reply=inbox)
    with pytest.raises(nats.errors.TimeoutError):  # noqa: PT012  (the refusal may come at any step)
        while True:
            answers.append(json.loads((await subscription.next_msg(timeout=0.3)).data))
    await subscription.unsubscribe()
    return answers


async def test_a_service_tells_its_health_and_its_metrics(tmp_path: Path) -> None:
    port = free_port()
    async with (
        TestBroker(tmp_path) as broker,
        small_service(broker, MONGARS_METRICS_PORT=str(port)),
        asyncio.timeout(PATIENCE_S),
    ):
        health = await _ready(broker)
        assert health.ready
        assert {name: d.ok for name, d in health.dependencies.items()} == {"well": True, "ill": False, "stuck": False}
        assert health.degraded == ("one thing",)
        bus = await broker.connect(Principal.API)
        assert "# TYPE" in (await bus.request(METRICS[Principal.SCHEDULER], Empty())).text
        for path, status in (("/metrics", b"200"), ("/else", b"404")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert status in (await reader.read()).splitlines()[0]
            writer.close()


async def test_a_service_is_listed_as_the_nats_command_expects(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, small_service(broker), asyncio.timeout(PATIENCE_S):
        await _ready(broker)
        caller = await broker.connect(Principal.COGNITION)
        await caller.request(PLACE, PlaceRequest(model="m"))
        with pytest.raises(NoNode):
            await caller.request(PLACE, PlaceRequest())
        client = await nats.connect(broker.url, nkeys_seed=str(broker.seed_file(Principal.OPERATOR)))
        try:
            (ping,) = await _ask_all(client, "$SRV.PING")
            assert (ping["type"], ping["name"]) == ("io.nats.micro.v1.ping_response", "mongars-scheduler")
            for subject in ("$SRV.PING.mongars-scheduler", f"$SRV.PING.mongars-scheduler.{ping['id']}"):
                assert await _ask_all(client, subject) == [ping]
            (info,) = await _ask_all(client, "$SRV.INFO")
            assert info["description"] == "Does little, for tests"
            assert {e["name"]: e["subject"] for e in info["endpoints"]}["place"] == PLACE.subject
            assert not [e for e in info["endpoints"] if "." in e["name"]]
            (stats,) = await _ask_all(client, f"$SRV.STATS.mongars-scheduler.{ping['id']}")
            place = next(e for e in stats["endpoints"] if e["name"] == "place")
            assert (place["num_requests"], place["num_errors"], place["last_error"]) == (2, 1, "no_node")
            assert place["average_processing_time"] == place["processing_time"] // 2 > 0
        finally:
            await client.close()


async def test_sigterm_finishes_what_is_in_flight_and_exits_well(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, small_service(broker) as process, asyncio.timeout(PATIENCE_S):
        await _ready(broker)
        ops = await broker.connect(Principal.OPS)
        # the request is with the service once a later one has been answered
        asked = asyncio.create_task(ops.request(DRAIN, NodeRef(node_id="n")))
        await asyncio.sleep(0)
        await (await broker.connect(Principal.COGNITION)).request(PLACE, PlaceRequest(model="m"))
        await ops.transport.flush(1)
        await (await broker.connect(Principal.COGNITION)).request(PLACE, PlaceRequest(model="m"))
        process.send_signal(signal.SIGTERM)
        assert (await asked).draining
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert b"stack closed" in output
        with pytest.raises(Unavailable):
            await ops.request(DRAIN, NodeRef(node_id="n"))


async def told_to_go_while_it_works(tmp_path: Path, *sent: signal.Signals) -> bool:
    """Whether what it had begun was answered, by a process that has a tenth of a second for that when all stop."""
    short = {"MONGARS_DRAIN_TIMEOUT_S": "0.1"}
    async with TestBroker(tmp_path) as broker, small_service(broker, **short) as process, asyncio.timeout(PATIENCE_S):
        await _ready(broker)
        ops = await broker.connect(Principal.OPS)
        asked = asyncio.create_task(ops.request(DRAIN, NodeRef(node_id="n")))
        await asyncio.sleep(0)
        await ops.transport.flush(1)
        await (await broker.connect(Principal.COGNITION)).request(PLACE, PlaceRequest(model="m"))
        for one in sent:
            process.send_signal(one)
            await asyncio.sleep(0.05)
        (said,) = await asyncio.gather(asked, return_exceptions=True)
        await process.communicate()
        return not isinstance(said, BaseException)


async def test_a_process_of_several_that_goes_ends_what_it_has_begun_however_long_that_takes(tmp_path: Path) -> None:
    assert await told_to_go_while_it_works(tmp_path, signal.SIGUSR1)


@pytest.mark.parametrize(
    "sent", [(signal.SIGTERM,), (signal.SIGUSR1, signal.SIGTERM), (signal.SIGKILL,)], ids=["stop", "hurry", "kill"]
)
async def test_what_it_has_begun_is_cut_short_by_anything_else(tmp_path: Path, sent: tuple[signal.Signals]) -> None:
    assert not await told_to_go_while_it_works(tmp_path, *sent)


async def test_a_service_waits_for_the_broker_and_says_so_once(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        await broker.stop()
        async with small_service(broker) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = await _line_with(process, b"broker_awaited")
            await broker.start()
            assert (await _ready(broker)).ready
            process.send_signal(signal.SIGTERM)
            output, errors = await process.communicate()
            assert process.returncode == 0
            assert (first + output + errors).count(b"broker_awaited") == 1


async def test_a_service_that_cannot_be_wired_exits_with_one(tmp_path: Path) -> None:
    async with (
        TestBroker(tmp_path) as broker,
        small_service(broker, SMALL_SERVICE="fails") as process,
        asyncio.timeout(PATIENCE_S),
    ):
        output, errors = await process.communicate()
        assert process.returncode == 1
        assert b"cannot be wired" in output + errors


async def test_a_service_whose_key_is_refused_exits_with_one(tmp_path: Path) -> None:
    async with (
        TestBroker(tmp_path) as broker,
        small_service(broker, MONGARS_NATS_SEED_FILE=str(broker.seed_file(Principal.API))) as process,
        asyncio.timeout(PATIENCE_S),
    ):
        output, errors = await process.communicate()
        assert process.returncode == 1
        assert b"forbidden" in output + errors


async def _line_with(process: asyncio.subprocess.Process, word: bytes) -> bytes:
    """Reads whichever stream the logs go to, until ``word``."""
    found = asyncio.Event()
    seen = bytearray()

    async def read(stream: asyncio.StreamReader) -> None:
        while not found.is_set() and (line := await stream.readline()):
            seen.extend(line)
            if word in line:
                found.set()

    assert process.stdout is not None
    assert process.stderr is not None
    readers = [asyncio.create_task(read(s)) for s in (process.stdout, process.stderr)]
    await found.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return bytes(seen)
