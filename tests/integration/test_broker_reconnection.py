"""What a bus does while the broker is away, and when it is back."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.shared.bus.base import Delivery
from libs.shared.bus.bootstrap import ensure_streams
from libs.shared.bus.jetstream import JetStreamApi
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.nkey_files import new_seed, public_key
from libs.shared.bus.permissions import SETUP
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.scheduling import PLACE, PlaceRequest
from libs.shared.contracts.sessions import SESSIONS
from libs.shared.contracts.turns import TURN_COMPLETED, TurnCompleted
from libs.shared.errors import Forbidden, StorageFull, Unavailable
from tests.support.broker import TestBroker
from tests.support.conversations import REPLICA, echo, prompt, turn

PATIENCE_S = 10


async def test_subscriptions_survive_a_crash_of_the_broker(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
        await server.serve(PLACE, echo)
        await broker.stop(signal.SIGKILL)
        asked = asyncio.create_task(caller.request(PLACE, PlaceRequest(model="m"), timeout_s=PATIENCE_S))
        await asyncio.sleep(0)
        assert not asked.done() or isinstance(asked.exception(), Unavailable)
        await broker.start()
        # asked again right after, it waits for the server to be back rather than say that nobody is there
        assert (await caller.request(PLACE, PlaceRequest(model="m"), timeout_s=PATIENCE_S)).policy == "m"
        await asyncio.gather(asked, return_exceptions=True)


async def test_what_was_in_flight_when_the_broker_crashed_fails_at_once(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        server, caller = await broker.connect(Principal.INFERENCE), await broker.connect(Principal.COGNITION)
        stopped = asyncio.Event()

        async def thinking(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            try:
                yield GenerateChunk(text="one")
                await asyncio.Event().wait()
            finally:
                stopped.set()

        await server.serve_stream(GENERATE, thinking, replica=REPLICA)
        with pytest.raises(Unavailable):  # noqa: PT012  (the refusal may come at any step)
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)
                await broker.stop(signal.SIGKILL)
                await anext(chunks)
        await stopped.wait()
        assert not caller.connected
        await broker.start()


async def test_a_publication_waits_for_the_broker_and_is_kept_once(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        publisher, consumer = await broker.connect(Principal.COGNITION), await broker.connect(Principal.PERSISTENCE)
        handled: asyncio.Queue[str] = asyncio.Queue()

        async def handle(delivery: Delivery[TurnCompleted]) -> None:
            await handled.put(delivery.message_id)

        await consumer.consume(TURN_COMPLETED, TURN_COMPLETED.consumers[0], handle, in_order=True)
        first = await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
        assert await handled.get() == "a"
        await broker.stop(signal.SIGKILL)
        waiting = asyncio.create_task(publisher.publish(TURN_COMPLETED, turn("b"), message_id="b"))
        await broker.start()
        at = await waiting
        assert at.epoch == first.epoch
        assert at == await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
        # the consumer is at work again, by itself; the crash may have cost the acknowledgement of "a"
        await publisher.publish(TURN_COMPLETED, turn("c"), message_id="c")
        seen: dict[str, None] = {}
        while "c" not in seen:
            seen[await handled.get()] = None
        assert [name for name in seen if name != "a"] == ["b", "c"]


async def test_a_bucket_in_memory_outlives_the_brokers_crash(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        bucket = (await broker.connect(Principal.COGNITION)).bucket(SESSIONS)
        await bucket.put("u", b"1")
        await broker.stop(signal.SIGKILL)
        await broker.start()
        await bucket.put("v", b"2")
        assert await bucket.get("v") == b"2"


async def test_another_life_of_the_stream_has_another_epoch(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        publisher = await broker.connect(Principal.COGNITION)
        before = await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
        await broker.stop(signal.SIGKILL)
        (tmp_path / "jetstream").rename(tmp_path / "lost")
        await broker.start()
        await ensure_streams(broker.url, seed_file=broker.seed_file(SETUP))
        after = await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
        assert after.sequence == before.sequence
        assert after.epoch != before.epoch


async def test_making_the_streams_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = JetStreamApi.ask

    async def note(api: JetStreamApi, verb: str, *rest: object, **more: object) -> object:
        asked.append(verb)
        return await ask(api, verb, *rest, **more)  # type: ignore[arg-type]

    async with TestBroker(tmp_path) as broker:
        monkeypatch.setattr(JetStreamApi, "ask", note)
        await ensure_streams(broker.url, seed_file=broker.seed_file(SETUP))
    assert asked
    assert not [verb for verb in asked if "STREAM.CREATE" in verb or "STREAM.UPDATE" in verb]


async def test_a_full_stream_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        publisher = await broker.connect(Principal.COGNITION)
        kept = await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
        await _shrink_turns(broker)
        with pytest.raises(StorageFull):
            await publisher.publish(TURN_COMPLETED, turn("b", b"x" * 4096), message_id="b")
        assert await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a") == kept


async def test_a_key_that_was_taken_away_closes_the_connection_for_good(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(PATIENCE_S):
        bus = await broker.connect(Principal.CLI)
        other = await broker.connect(Principal.API)
        broker.seed_file(Principal.CLI).write_text(new_seed())
        broker.write_config()
        broker.reload()
        await bus.wait_closed()
        assert other.connected
        again = await broker.connect(Principal.CLI)
        assert again.connected


async def test_nobody_there_is_told_in_no_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await NatsBus.connect("nats://127.0.0.1:1", principal=Principal.API)
    assert time.monotonic() - started < 2


async def test_a_key_of_nobody_is_refused(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker:
        stranger = tmp_path / "stranger.nk"
        stranger.write_text(new_seed())
        with pytest.raises((Forbidden, Unavailable)):
            await NatsBus.connect(broker.url, principal=Principal.API, seed_file=stranger)


async def _shrink_turns(broker: TestBroker) -> None:
    """Makes the stream as small as what it holds."""
    from libs.shared.bus.calls import Calls
    from libs.shared.bus.connection import NatsTransport
    from libs.shared.bus.inbox import Inbox
    from libs.shared.bus.permissions import inbox_prefix

    transport = NatsTransport(inbox_prefix(SETUP))
    await transport.open(broker.url, seed_file=broker.seed_file(SETUP), ca_file=None, name="shrink")
    inbox = Inbox(transport)
    await inbox.open()
    api = JetStreamApi(Calls(transport, inbox))
    config = (await api.ask("STREAM.INFO.TURNS"))["config"]
    await api.ask("STREAM.UPDATE.TURNS", json.loads(json.dumps({**config, "max_bytes": 2048})))
    await transport.close()


def test_a_new_seed_has_a_public_key_of_its_own() -> None:
    keys = {public_key(new_seed()) for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("U") and len(key) == 56 for key in keys)


@pytest.mark.parametrize("broken", ["", "SU", "not a seed", "SUAAAA"])
def test_a_malformed_seed_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="nkey"):
        public_key(broken)
