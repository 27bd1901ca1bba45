"""Events and key-value buckets, on NATS and in memory."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from libs.shared.bus.base import Delivery, Poison
from libs.shared.contracts.base import KIB, Principal
from libs.shared.contracts.common import Position
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from libs.shared.contracts.ledger import CHANGE_RECORDED, SETTINGS
from libs.shared.contracts.sessions import CREDENTIALS, LIMITS, SESSIONS
from libs.shared.contracts.turns import TURN_COMPLETED, TurnCompleted
from libs.shared.errors import InvalidRequest, TooLarge
from tests.contract.conftest import AnyBus, Connect
from tests.support.conversations import turn

PATIENCE_S = 10
APPLY = TURN_COMPLETED.consumers[0]
INDEX = INDEX_REQUESTED.consumers[0]


class Ledger:
    """Handles deliveries, and notes each."""

    def __init__(self, refuse_first: int = 0) -> None:
        self.handled: asyncio.Queue[Delivery[TurnCompleted]] = asyncio.Queue()
        self.seen: list[str] = []
        self._refuse = refuse_first

    async def __call__(self, delivery: Delivery[TurnCompleted]) -> None:
        self.seen.append(delivery.message_id)
        if self._refuse:
            self._refuse -= 1
            raise RuntimeError("not yet")
        await self.handled.put(delivery)


async def _pair(connect: Connect) -> tuple[AnyBus, AnyBus]:
    return await connect(Principal.COGNITION), await connect(Principal.PERSISTENCE)


async def test_an_event_published_twice_is_kept_and_delivered_once(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    ledger = Ledger()
    first = await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    again = await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    other = await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
    await consumer.consume(TURN_COMPLETED, APPLY, ledger, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        got = [await ledger.handled.get(), await ledger.handled.get()]
    assert first == again
    assert other.epoch == first.epoch
    assert other.sequence > first.sequence
    assert [(d.message_id, d.position, d.message.turn_id, d.attempt) for d in got] == [
        ("a", first, "a", 1),
        ("b", other, "b", 1),
    ]


async def test_what_failed_comes_again_and_order_is_kept(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    ledger = Ledger(refuse_first=2)
    for name in "abc":
        await publisher.publish(TURN_COMPLETED, turn(name), message_id=name)
    await consumer.consume(TURN_COMPLETED, APPLY, ledger, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        got = [await ledger.handled.get() for _ in "abc"]
    assert ledger.seen == ["a", "a", "a", "b", "c"]
    assert [d.attempt for d in got] == [3, 1, 1]


async def test_the_handler_is_told_which_attempt_is_the_last(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.shared.bus.consumer.BACKOFF_S", (0.01,))
    publisher, consumer = await _pair(connect)
    last: list[bool] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery[TurnCompleted]) -> None:
        last.append(delivery.last_attempt)
        if not delivery.last_attempt:
            raise RuntimeError("not yet")
        done.set()

    await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    await consumer.consume(TURN_COMPLETED, APPLY, handle, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    assert last == [False] * (APPLY.max_deliver - 1) + [True]


async def test_what_came_while_nobody_consumed_is_delivered_later_and_not_again(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    before, after = Ledger(), Ledger()
    await consumer.consume(TURN_COMPLETED, APPLY, before, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        await before.handled.get()
        await consumer.drain(1.0)
        await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
        again = await connect(Principal.PERSISTENCE)
        await again.consume(TURN_COMPLETED, APPLY, after, in_order=True)
        assert (await after.handled.get()).message_id == "b"
    assert after.seen == ["b"]


async def test_what_was_not_finished_when_the_service_died_comes_again(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    begun = asyncio.Event()

    async def dies(delivery: Delivery[TurnCompleted]) -> None:
        begun.set()
        await asyncio.Event().wait()

    await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    await consumer.consume(TURN_COMPLETED, APPLY, dies, in_order=True)
    ledger = Ledger()
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
        await consumer.drain(0.01)
        again = await connect(Principal.PERSISTENCE)
        await again.consume(TURN_COMPLETED, APPLY, ledger, in_order=True)
        assert (await ledger.handled.get()).attempt == 2


async def test_a_drain_finishes_the_delivery_in_flight(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def slow(delivery: Delivery[TurnCompleted]) -> None:
        begun.set()
        await go_on.wait()
        finished.append(delivery.message_id)

    for name in "ab":
        await publisher.publish(TURN_COMPLETED, turn(name), message_id=name)
    await consumer.consume(TURN_COMPLETED, APPLY, slow, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
        draining = asyncio.create_task(consumer.drain(PATIENCE_S))
        await asyncio.sleep(0)
        go_on.set()
        await draining
        ledger = Ledger()
        again = await connect(Principal.PERSISTENCE)
        await again.consume(TURN_COMPLETED, APPLY, ledger, in_order=True)
        assert (await ledger.handled.get()).message_id == "b"
    assert finished == ["a"]
    assert ledger.seen == ["b"]


async def test_without_order_deliveries_are_handled_at_the_same_time(connect: Connect) -> None:
    publisher, consumer = await connect(Principal.PERSISTENCE), await connect(Principal.COGNITION)
    together = asyncio.Barrier(4)
    done = asyncio.Semaphore(0)

    async def meet(delivery: Delivery[IndexRequested]) -> None:
        await together.wait()
        done.release()

    await consumer.consume(INDEX_REQUESTED, INDEX, meet)
    for name in "abcd":
        request = IndexRequested(user_id="u", conversation_id="c", message_ids=(name,))
        await publisher.publish(INDEX_REQUESTED, request, message_id=name)
    async with asyncio.timeout(PATIENCE_S):
        for _ in "abcd":
            await done.acquire()


async def test_order_needs_a_consumer_that_is_declared_so(connect: Connect) -> None:
    consumer = await connect(Principal.COGNITION)

    async def handle(delivery: Delivery[IndexRequested]) -> None: ...

    with pytest.raises(ValueError, match="max_ack_pending"):
        await consumer.consume(INDEX_REQUESTED, INDEX, handle, in_order=True)


async def test_the_watermark_passes_what_was_erased_at_the_end(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    gone = await publisher.publish(TURN_COMPLETED, turn("b"), message_id="b")
    await consumer.delete_messages(TURN_COMPLETED, (gone,))
    await consumer.delete_messages(TURN_COMPLETED, (gone, Position(epoch="another", sequence=1)))
    told: asyncio.Queue[Position] = asyncio.Queue()
    ledger = Ledger()
    await consumer.consume(TURN_COMPLETED, APPLY, ledger, in_order=True, on_caught_up=told.put)
    async with asyncio.timeout(PATIENCE_S):
        assert (await ledger.handled.get()).message_id == "a"
        assert await told.get() == gone


async def test_what_cannot_be_read_is_handed_over_and_passed(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    poison: asyncio.Queue[Poison] = asyncio.Queue()
    ledger = Ledger()

    class Foreign(TurnCompleted):
        """A turn of another release, whose id is not what this one allows."""

        turn_id: str

    foreign = Foreign(**(turn("x").model_dump() | {"turn_id": "not an id!"}))
    at = await publisher.publish(TURN_COMPLETED, foreign, message_id="x")
    await publisher.publish(TURN_COMPLETED, turn("y"), message_id="y")
    await consumer.consume(TURN_COMPLETED, APPLY, ledger, in_order=True, on_poison=poison.put)
    async with asyncio.timeout(PATIENCE_S):
        set_aside = await poison.get()
        assert (set_aside.message_id, set_aside.position) == ("x", at)
        assert b"not an id!" in set_aside.body
        assert (await ledger.handled.get()).message_id == "y"


async def test_the_trace_of_an_event_goes_on_where_it_is_handled(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def look(delivery: Delivery[TurnCompleted]) -> None:
        await seen.put(trace.get_current_span().get_span_context().trace_id)

    with trace.use_span(NonRecordingSpan(SpanContext(0xABC, 0xDEF, False, TraceFlags(0)))):
        await publisher.publish(TURN_COMPLETED, turn("a"), message_id="a")
    await consumer.consume(TURN_COMPLETED, APPLY, look, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        assert await seen.get() == 0xABC


async def test_a_large_event_is_kept_whole_and_one_over_its_limit_refused(connect: Connect) -> None:
    publisher, consumer = await _pair(connect)
    ledger = Ledger()
    sealed = bytes(range(256)) * 4096 * 8
    await publisher.publish(TURN_COMPLETED, turn("big", sealed), message_id="big")
    with pytest.raises(TooLarge):
        await publisher.publish(TURN_COMPLETED, turn("huge", sealed * 2), message_id="huge")
    await consumer.consume(TURN_COMPLETED, APPLY, ledger, in_order=True)
    async with asyncio.timeout(PATIENCE_S):
        assert (await ledger.handled.get()).message.messages[0].text.sealed == sealed


async def test_an_event_without_consumers_is_kept(connect: Connect) -> None:
    from datetime import UTC, datetime

    from libs.shared.contracts.ledger import ChangeRecorded, ChangeState

    publisher = await connect(Principal.PERSISTENCE)
    change = ChangeRecorded(change_id="c", sequence=1, state=ChangeState.APPLIED, hash="h", at=datetime.now(UTC))
    assert (await publisher.publish(CHANGE_RECORDED, change, message_id="c-applied")).sequence == 1


async def test_a_bucket_keeps_the_newest_value(connect: Connect) -> None:
    writer, reader = await connect(Principal.COGNITION), await connect(Principal.API)
    ours, theirs = writer.bucket(SESSIONS), reader.bucket(SESSIONS)
    assert await theirs.get("user.1") is None
    await ours.put("user.1", b"one")
    await ours.put("user.1", b"two")
    assert await theirs.get("user.1") == b"two"
    await ours.delete("user.1")
    assert await theirs.get("user.1") is None


async def test_a_ticket_can_be_created_once(connect: Connect) -> None:
    bucket = (await connect(Principal.API)).bucket(LIMITS)
    created = await asyncio.gather(*(bucket.create("ticket", b"%d" % n) for n in range(8)))
    assert sorted(created) == [False] * 7 + [True]
    await bucket.delete("ticket")
    assert await bucket.create("ticket", b"") is True
    assert await bucket.create("ticket", b"") is False
    assert await bucket.get("ticket") == b""


async def test_an_update_needs_the_revision_that_was_read(connect: Connect) -> None:
    bucket = (await connect(Principal.API)).bucket(CREDENTIALS)
    missing = await bucket.read("key.a")
    assert (missing.value, missing.revision) == (None, 0)
    assert await bucket.update("key.a", b"1", missing.revision)
    assert not await bucket.update("key.a", b"2", missing.revision)
    kept = await bucket.read("key.a")
    assert kept.value == b"1"
    await bucket.delete("key.a")
    assert not await bucket.update("key.a", b"3", kept.revision)
    deleted = await bucket.read("key.a")
    assert deleted.value is None
    assert deleted.revision > kept.revision
    assert await bucket.update("key.a", b"4", deleted.revision)
    assert await bucket.get("key.a") == b"4"


async def test_a_full_cache_bucket_loses_its_oldest_entry(connect: Connect) -> None:
    bucket = (await connect(Principal.API)).bucket(CREDENTIALS)
    value = bytes(64 * KIB)
    count = CREDENTIALS.max_bytes // len(value) + 8
    for number in range(count):
        await bucket.put(f"key.{number}", value)
    assert await bucket.get("key.0") is None
    assert await bucket.get(f"key.{count - 1}") == value


async def test_a_watch_hears_changes_and_deletions(connect: Connect) -> None:
    writer, reader = await connect(Principal.PERSISTENCE), await connect(Principal.SCHEDULER)
    changes: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()

    async def note(key: str, value: bytes | None) -> None:
        await changes.put((key, value))
        if value == b"1":
            raise RuntimeError("a fault of this watcher")

    await reader.bucket(SETTINGS).watch(note)
    settings = writer.bucket(SETTINGS)
    await settings.put("runtime", b"1")
    await settings.put("a.b", b"2")
    await settings.delete("runtime")
    async with asyncio.timeout(PATIENCE_S):
        heard = [await changes.get() for _ in range(3)]
    assert heard == [("runtime", b"1"), ("a.b", b"2"), ("runtime", None)]


@pytest.mark.parametrize("key", ["", "a b", "a..b", "*", "a.>", "é", "x" * 300])
async def test_a_key_that_is_no_subject_is_refused(connect: Connect, key: str) -> None:
    bucket = (await connect(Principal.API)).bucket(LIMITS)
    with pytest.raises(InvalidRequest):
        await bucket.put(key, b"")
