"""Least privilege at a real broker: every permission is needed, and whatever isn't given is denied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.shared.bus.base import Delivery
from libs.shared.bus.broker_config import permissions_named
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.permissions import Permissions, joined_node
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Position
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.ledger import READ_SETTINGS, SETTINGS, ReadSettings, SettingsRead
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import DRAIN, OUTCOME, PLACE, Drained, NodeRef, Outcome, PlaceRequest
from libs.shared.contracts.sessions import LIMITS
from libs.shared.contracts.turns import TURN_COMPLETED, TurnCompleted
from libs.shared.errors import Forbidden, ServiceError, Unavailable
from libs.shared.runtime_settings import SettingsInForce
from tests.support.broker import NODE, TestBroker
from tests.support.conversations import REPLICA, count_to_ten, echo, prompt, turn

CASE_TIMEOUT_S = 2


async def a_request(broker: TestBroker) -> None:
    server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    assert (await caller.request(PLACE, PlaceRequest(model="m"))).policy == "m"


async def a_large_request(broker: TestBroker) -> None:
    server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    await caller.request(PLACE, PlaceRequest(model="m" * 600_000))


async def a_cancelled_stream(broker: TestBroker) -> None:
    server, caller = await broker.connect(Principal.INFERENCE), await broker.connect(Principal.COGNITION)
    stopped = asyncio.Event()

    async def thinking(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        try:
            yield GenerateChunk(text="one")
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await server.serve_stream(GENERATE, thinking, replica=REPLICA)
    async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        await anext(chunks)
    await stopped.wait()


async def a_broadcast(broker: TestBroker) -> None:
    listener, speaker = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
    heard = asyncio.Event()

    async def hear(outcome: Outcome) -> None:
        heard.set()

    await listener.subscribe(OUTCOME, hear)
    await speaker.broadcast(OUTCOME, Outcome(node_id="n", replica="n-0", model="m", ok=True))
    await heard.wait()


async def an_event(broker: TestBroker) -> None:
    publisher, consumer = await broker.connect(Principal.COGNITION), await broker.connect(Principal.PERSISTENCE)
    handled: asyncio.Queue[str] = asyncio.Queue()
    caught_up: asyncio.Queue[Position] = asyncio.Queue()

    async def handle(delivery: Delivery[TurnCompleted]) -> None:
        await handled.put(delivery.message_id)

    await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    at = await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
    await consumer.consume(
        TURN_COMPLETED, TURN_COMPLETED.consumers[0], handle, in_order=True, on_caught_up=caught_up.put
    )
    # without the right to acknowledge, "a" comes a second time before "b"
    assert [await handled.get(), await handled.get()] == ["a", "b"]
    assert await caught_up.get() == at
    await consumer.delete_messages(TURN_COMPLETED, (at,))


async def a_watched_setting(broker: TestBroker) -> None:
    writer, reader = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.SCHEDULER)
    heard = asyncio.Event()

    async def note(key: str, value: bytes | None) -> None:
        heard.set()

    await reader.bucket(SETTINGS).watch(note)
    await writer.bucket(SETTINGS).put("runtime", b"{}")
    await heard.wait()
    assert await reader.bucket(SETTINGS).get("runtime") == b"{}"


Case = Callable[[TestBroker], Awaitable[None]]
CASES: tuple[Case, ...] = (a_request, a_large_request, a_cancelled_stream, a_broadcast, an_event, a_watched_setting)


@dataclass(frozen=True)
class Removal:
    """One permission less, and the case that cannot do without it."""

    case: Case
    key: str
    verb: str
    subject: str

    def without(self) -> Permissions:
        given = permissions_named(self.key)
        allowed = getattr(given, self.verb)
        assert self.subject in allowed, f"{self.key} has no permission to {self.verb} {self.subject}"
        less = tuple(a for a in allowed if a != self.subject)
        return Permissions(**{"publish": given.publish, "subscribe": given.subscribe, self.verb: less})


_GENERATE = f"mongars.v1.inference.generate.{REPLICA}"
_TURNS = "TURNS.apply_turns"
REMOVALS = (
    Removal(a_request, "cognition", "publish", PLACE.subject),
    Removal(a_request, "cognition", "subscribe", "_INBOX_cognition.>"),
    Removal(a_request, "scheduler", "subscribe", f"{PLACE.subject} q"),
    Removal(a_request, "scheduler", "publish", "_INBOX_cognition.>"),
    Removal(a_large_request, "cognition", "publish", f"{PLACE.subject}.parts.*"),
    Removal(a_large_request, "scheduler", "subscribe", f"{PLACE.subject}.parts.*"),
    Removal(a_cancelled_stream, "cognition", "publish", "mongars.v1.inference.generate.*"),
    Removal(a_cancelled_stream, "cognition", "publish", "mongars.v1.inference.generate.*.flow"),
    Removal(a_cancelled_stream, "inference-node-a", "subscribe", f"{_GENERATE} q"),
    Removal(a_cancelled_stream, "inference-node-a", "subscribe", f"{_GENERATE}.flow"),
    Removal(a_cancelled_stream, "inference-node-a", "publish", "_INBOX_cognition.>"),
    Removal(a_broadcast, "cognition", "publish", OUTCOME.subject),
    Removal(a_broadcast, "scheduler", "subscribe", OUTCOME.subject),
    Removal(an_event, "cognition", "publish", TURN_COMPLETED.subject),
    Removal(an_event, "cognition", "publish", "$JS.API.STREAM.INFO.TURNS"),
    Removal(an_event, "persistence", "publish", "$JS.API.STREAM.INFO.TURNS"),
    Removal(an_event, "persistence", "publish", f"$JS.API.CONSUMER.MSG.NEXT.{_TURNS}"),
    Removal(an_event, "persistence", "publish", f"$JS.API.CONSUMER.INFO.{_TURNS}"),
    Removal(an_event, "persistence", "publish", f"$JS.ACK.{_TURNS}.>"),
    Removal(an_event, "persistence", "publish", "$JS.API.STREAM.MSG.DELETE.TURNS"),
    Removal(a_watched_setting, "persistence", "publish", "$KV.settings.>"),
    Removal(a_watched_setting, "scheduler", "publish", "$JS.API.DIRECT.GET.KV_settings.$KV.settings.>"),
    Removal(a_watched_setting, "scheduler", "subscribe", SETTINGS.watch_subject(">")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_every_case_works_with_the_computed_permissions(case: Case, tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(CASE_TIMEOUT_S):
        await case(broker)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda r: f"{r.case.__name__}-{r.key}-{r.verb}-{r.subject}")
async def test_without_one_permission_its_case_breaks(
    removal: Removal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.shared.bus.jetstream.PUBLISH_TIMEOUT_S", 1.0)
    async with TestBroker(tmp_path, replaced={removal.key: removal.without()}) as broker:
        with pytest.raises((ServiceError, TimeoutError, AssertionError)):
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await removal.case(broker)


def _ignore(incoming: Incoming) -> None: ...


@pytest.mark.parametrize(
    ("principal", "subject", "queue"),
    [
        (Principal.API, PLACE.subject, "q"),
        (Principal.SCHEDULER, PLACE.subject, ""),
        (Principal.SCHEDULER, PLACE.subject, "another"),
        (Principal.SCHEDULER, "_INBOX_cognition.>", ""),
        (Principal.SCHEDULER, "_INBOX.>", ""),
        (Principal.SCHEDULER, "mongars.v1.>", ""),
        (Principal.INFERENCE, "mongars.v1.inference.generate.node-b-0", "q"),
        (Principal.INFERENCE, "_INBOX_inference.node-b.>", ""),
        (Principal.API, TURN_COMPLETED.subject, ""),
        (Principal.API, "mongars.v1.kv.>", ""),
        (Principal.COGNITION, "mongars.v1.kv.limits.>", ""),
        (Principal.CLI, "mongars.v1.telemetry.node", ""),
        (Principal.OPERATOR, "mongars.v1.scheduler.>", ""),
        (Principal.OPS, "_INBOX_api.>", ""),
    ],
)
async def test_nobody_hears_what_is_not_for_him(principal: Principal, subject: str, queue: str, tmp_path: Path) -> None:
    async with TestBroker(tmp_path, nodes=("node-a", "node-b")) as broker:
        bus = await broker.connect(principal)
        with pytest.raises(Forbidden):
            await bus.transport.subscribe(subject, _ignore, queue=queue)


@pytest.mark.parametrize(
    ("principal", "subject"),
    [
        (Principal.API, PLACE.subject + "d"),
        (Principal.API, TURN_COMPLETED.subject),
        (Principal.API, "$KV.settings.runtime"),
        (Principal.API, "_INBOX_cognition.x.y"),
        (Principal.API, "$JS.API.STREAM.MSG.DELETE.TURNS"),
        (Principal.COGNITION, "$JS.API.CONSUMER.MSG.NEXT.TURNS.apply_turns"),
        (Principal.PERSISTENCE, "$JS.API.CONSUMER.CREATE.TURNS.spy"),
        (Principal.PERSISTENCE, "$JS.API.STREAM.PURGE.TURNS"),
        (Principal.PERSISTENCE, "$JS.API.STREAM.DELETE.TURNS"),
        (Principal.INFERENCE, "mongars.v1.cognition.chat"),
        (Principal.CLI, "mongars.v1.cognition.chat"),
        (Principal.OPERATOR, DRAIN.subject),
        (Principal.OPERATOR, "$JS.API.CONSUMER.MSG.NEXT.TURNS.apply_turns"),
        (Principal.OPS, PLACE.subject),
    ],
)
async def test_nobody_says_what_is_not_his_to_say_and_learns_so_at_once(
    principal: Principal, subject: str, tmp_path: Path
) -> None:
    async with TestBroker(tmp_path) as broker:
        bus = await broker.connect(principal)
        async with asyncio.timeout(CASE_TIMEOUT_S):
            with pytest.raises(Forbidden):
                await bus._calls.exchange(subject, b"{}", timeout_s=60, limit=1024)


async def test_ops_may_drain_a_node(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker:
        server, ops = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.OPS)

        async def drain(request: NodeRef) -> Drained:
            return Drained(node_id=request.node_id, draining=True)

        await server.serve(DRAIN, drain)
        assert (await ops.request(DRAIN, NodeRef(node_id="node-a"))).draining


async def test_a_service_answers_no_reply_subject_but_an_inbox(tmp_path: Path) -> None:
    """Otherwise a caller could have a service say things to the broker that the caller may not."""
    async with TestBroker(tmp_path) as broker:
        server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
        asked = asyncio.Event()

        async def answer(request: PlaceRequest) -> object:
            asked.set()
            raise Unavailable

        await server.serve(PLACE, answer)  # type: ignore[arg-type]
        caller.transport.publish(PLACE.subject, b"{}", reply="$JS.API.STREAM.MSG.DELETE.TURNS")
        with suppress(Unavailable):
            await caller.request(PLACE, PlaceRequest())
        assert asked.is_set()
        assert server.endpoints[0].num_requests == 1


async def test_a_stranger_is_not_let_in(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker:
        for seed_file in (broker.seed_file("cognition"), None):
            with pytest.raises((Forbidden, Unavailable)):
                # cognition's key, or none, with the api's inbox
                await type(await broker.connect(Principal.API)).connect(
                    broker.url, principal=Principal.API, seed_file=seed_file
                )


async def test_a_node_serves_its_own_replicas_alone(tmp_path: Path) -> None:
    async with TestBroker(tmp_path, nodes=("node-a", "node-b")) as broker:
        intruder = await broker.connect(Principal.INFERENCE, "node-b")
        with pytest.raises(Forbidden):
            await intruder.serve_stream(GENERATE, count_to_ten, replica="node-a-1")


_READ_RUNTIME = "$JS.API.DIRECT.GET.KV_settings.$KV.settings.runtime"
_WITHIN_S = 60.0


async def a_read_is_answered_into_another_bucket(broker: TestBroker) -> NatsBus:
    """JetStream answers in its own name: whoever may ask it chooses where it writes. The one who asked."""
    persistence, gateway = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.API)
    await persistence.bucket(SETTINGS).put("runtime", b'{"recall_k": 3}')
    await gateway.bucket(LIMITS).put("rates", b"{}")
    node = await broker.connect(Principal.INFERENCE)
    node.transport.publish(_READ_RUNTIME, b"", reply="$KV.limits.rates")
    return node


async def test_whoever_may_read_a_bucket_has_the_broker_write_into_any(tmp_path: Path) -> None:
    """So that what the next test forbids is known to be an attack."""
    async with TestBroker(tmp_path) as broker:
        await a_read_is_answered_into_another_bucket(broker)
        limits = (await broker.connect(Principal.API)).bucket(LIMITS)
        async with asyncio.timeout(_WITHIN_S):
            while await limits.get("rates") != b'{"recall_k": 3}':  # noqa: ASYNC110 - the broker's own doing
                await asyncio.sleep(0.02)


async def test_a_node_elsewhere_may_ask_jetstream_nothing_and_hears_the_settings_from_persistence(
    tmp_path: Path,
) -> None:
    async with TestBroker(tmp_path, replaced={f"{Principal.INFERENCE}-{NODE}": joined_node(NODE)}) as broker:
        node = await a_read_is_answered_into_another_bucket(broker)
        with pytest.raises(Forbidden):
            await node._calls.exchange(_READ_RUNTIME, b"", timeout_s=_WITHIN_S, limit=1024)
        limits = (await broker.connect(Principal.API)).bucket(LIMITS)
        assert await limits.get("rates") == b"{}", "the broker refused the first one too, before this one"
        persistence = await broker.connect(Principal.PERSISTENCE)

        async def read(request: ReadSettings) -> SettingsRead:
            return SettingsRead(settings=RuntimeSettings(recall_k=3))

        await persistence.serve(READ_SETTINGS, read)
        in_force = SettingsInForce(node, asks=True)
        following = asyncio.create_task(in_force.follow())
        async with asyncio.timeout(_WITHIN_S):
            for value, k in ((None, 3), (b'{"recall_k": 4}', 4)):
                if value is not None:
                    await persistence.bucket(SETTINGS).put("runtime", value)
                while in_force.current.recall_k != k:  # noqa: ASYNC110 - nobody is told of it
                    await asyncio.sleep(0.02)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
