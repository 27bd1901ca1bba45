"""Tests of the tests: each guarantee of the bus is taken away in turn, and the check that holds it must fail."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest

from libs.shared.bus import endpoints, rpc_server, stream_server, tracing, wire
from libs.shared.bus.consumer import Handlers, PullConsumer
from libs.shared.bus.endpoints import Endpoint
from libs.shared.bus.inbox import Inbox
from libs.shared.bus.lanes import Lane, Tasks
from libs.shared.bus.memory_streams import MemoryBucket, MemoryConsumer, MemoryKeyValue, MemoryStream
from libs.shared.bus.parts import PartsReceiver
from libs.shared.bus.stream_call import StreamCall
from libs.shared.bus.stream_server import StreamReply
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import Consumer
from libs.shared.errors import Internal
from tests.contract import test_bus_events as events
from tests.contract import test_bus_requests as requests
from tests.contract import test_bus_stream_silence as silence
from tests.contract import test_bus_streams as streams
from tests.contract.conftest import Connect
from tests.support.broker import TestBroker

MUTANT_TIMEOUT_S = 2.5
Check = Callable[[Connect], Coroutine[Any, Any, None]]
Patch = pytest.MonkeyPatch


async def _nothing(*args: object) -> None: ...


def _ignore(*args: object, **named: object) -> None: ...


def one_at_a_time(patch: Patch) -> None:
    init = Lane.__init__
    patch.setattr(Lane, "__init__", lambda self, tasks, width, backlog: init(self, tasks, 1, backlog))


def unbounded_queue(patch: Patch) -> None:
    init = Lane.__init__
    patch.setattr(Lane, "__init__", lambda self, tasks, width, backlog: init(self, tasks, width, 1 << 20))


def credit_ignored(patch: Patch) -> None:
    patch.setattr(StreamReply, "_take_credit", _nothing)


def credit_never_returned(patch: Patch) -> None:
    patch.setattr(StreamCall, "_return_credit", _ignore)


def cancellation_lost(patch: Patch) -> None:
    patch.setattr(StreamReply, "leave", _ignore)


def early_cancellation_lost(patch: Patch) -> None:
    def leave(self: StreamReply) -> None:
        if self.task is not None:
            self.caller_left = True
            self.task.cancel()

    patch.setattr(StreamReply, "leave", leave)


def order_unchecked(patch: Patch) -> None:
    def take(self: StreamCall[Any], place: str, incoming: Incoming) -> None:
        self._next += 1
        self._keep(place.partition(" ")[2], incoming.body)

    patch.setattr(StreamCall, "_take", take)


def end_in_a_message_of_its_own(patch: Patch) -> None:
    end = StreamReply.end

    def apart(self: StreamReply, error: Any = None) -> None:
        self._send_held()
        end(self, error)

    patch.setattr(StreamReply, "end", apart)


def chunks_held_back(patch: Patch) -> None:
    send = StreamReply.send

    async def hold(self: StreamReply, body: bytes) -> None:
        await send(self, body)
        held, self._held = self._held, None
        await asyncio.sleep(0)
        self._held = held

    patch.setattr(StreamReply, "send", hold)


def no_probes(patch: Patch) -> None:
    patch.setattr(StreamCall, "_probe", _ignore)


def no_sign_of_life(patch: Patch) -> None:
    patch.setattr(StreamReply, "say_alive", _ignore)


def impatience_with_slow_readers(patch: Patch) -> None:
    watch = StreamCall._watch

    def strict(self: StreamCall[Any]) -> None:
        ready, self._ready = self._ready, type(self._ready)()
        try:
            watch(self)
        finally:
            self._ready = ready

    patch.setattr(StreamCall, "_watch", strict)


def faults_told_in_words(patch: Patch) -> None:
    def tell(error: Exception, endpoint: str) -> Internal:
        return Internal(repr(error))

    for module in (endpoints, rpc_server, stream_server):
        patch.setattr(module, "told", tell)


def every_refusal_internal(patch: Patch) -> None:
    for module in (endpoints, rpc_server, stream_server):
        patch.setattr(module, "told", lambda error, endpoint: Internal())


def values_repeated(patch: Patch) -> None:
    patch.setattr(wire, "_problems", lambda model, error: error.errors(include_url=False, include_context=False))


def every_instance_answers(patch: Patch) -> None:
    async def open_plain(self: Endpoint, on_request: Callable[[Incoming], None]) -> tuple[int, ...]:
        return (await self.transport.subscribe(self.subject, on_request),)

    patch.setattr(Endpoint, "open", open_plain)


def no_limit_where_it_arrives(patch: Patch) -> None:
    init = PartsReceiver.__init__
    patch.setattr(
        PartsReceiver, "__init__", lambda self, announced, limit, grant: init(self, announced, 1 << 40, grant)
    )


def trace_dropped(patch: Patch) -> None:
    patch.setattr(tracing, "remote_context", lambda incoming: None)


def drain_cuts_off(patch: Patch) -> None:
    async def hurry(self: Tasks, timeout_s: float) -> bool:
        return False

    patch.setattr(Tasks, "finish", hurry)


def drain_goes_on_taking(patch: Patch) -> None:
    patch.setattr("libs.shared.bus.typed.TypedConversations._stop_taking", _nothing)


def timer_never_set(patch: Patch) -> None:
    patch.setattr("libs.shared.bus.calls.PendingReply.expire", _ignore)


def nobody_not_heard(patch: Patch) -> None:
    received = Inbox._received

    def deaf(self: Inbox, incoming: Incoming) -> None:
        if incoming.status == 0:
            received(self, incoming)

    patch.setattr(Inbox, "_received", deaf)


def duplicates_kept(patch: Patch) -> None:
    append = MemoryStream.append
    counter = iter(range(1 << 20))
    patch.setattr(
        MemoryStream, "append", lambda self, subject, id_, *rest: append(self, subject, f"{next(counter)}", *rest)
    )


def acknowledged_before_handled(patch: Patch) -> None:
    give = Handlers.give

    async def swallow(self: Handlers[Any], *args: Any) -> None:
        try:
            await give(self, *args)
        except Exception:
            return  # what a handler refused is taken for done

    patch.setattr(Handlers, "give", swallow)


def never_redelivered(patch: Patch) -> None:
    land = MemoryConsumer._land
    patch.setattr(MemoryConsumer, "_land", lambda self, stored, *, again: land(self, stored, again=False))


def order_lost_in_redelivery(patch: Patch) -> None:
    init = MemoryConsumer.__init__

    def greedy(self: MemoryConsumer[Any], stream: MemoryStream, event: Any, declared: Consumer) -> None:
        init(self, stream, event, replace(declared, max_ack_pending=64))

    patch.setattr(MemoryConsumer, "__init__", greedy)


def poison_blocks(patch: Patch) -> None:
    async def stuck(self: Handlers[Any], event: Any, consumer: Any, body: bytes, about: Any) -> None:
        event.message.model_validate_json(body)

    patch.setattr(Handlers, "give", stuck)


def caught_up_untold(patch: Patch) -> None:
    patch.setattr(MemoryConsumer, "_tell_caught_up", _nothing)


def tickets_reusable(patch: Patch) -> None:
    async def create(self: MemoryKeyValue, key: str, value: bytes) -> bool:
        await self.put(key, value)
        return True

    patch.setattr(MemoryKeyValue, "create", create)


def updates_unconditional(patch: Patch) -> None:
    async def update(self: MemoryKeyValue, key: str, value: bytes, revision: int) -> bool:
        await self.put(key, value)
        return True

    patch.setattr(MemoryKeyValue, "update", update)


def nothing_evicted(patch: Patch) -> None:
    patch.setattr(MemoryBucket, "_evict", lambda self: None)


@dataclass(frozen=True)
class Mutation:
    """A guarantee taken away, and the check that must notice."""

    take_away: Callable[[Patch], None]
    check: Callable[..., Awaitable[None]]
    arguments: tuple[Any, ...] = ()


MUTATIONS = (
    Mutation(one_at_a_time, requests.test_requests_of_one_subject_run_at_the_same_time),
    Mutation(unbounded_queue, requests.test_more_than_the_queue_holds_is_refused),
    Mutation(faults_told_in_words, requests.test_a_fault_is_told_as_internal_without_its_words),
    Mutation(every_refusal_internal, requests.test_a_refusal_crosses_with_its_code_detail_and_data),
    Mutation(values_repeated, requests.test_what_breaks_the_contract_is_refused_by_field_and_never_repeated),
    Mutation(every_instance_answers, requests.test_instances_share_the_work_and_answer_once),
    Mutation(no_limit_where_it_arrives, requests.test_too_large_is_refused_where_it_arrives),
    Mutation(trace_dropped, requests.test_the_trace_goes_on_at_the_server),
    Mutation(drain_cuts_off, requests.test_a_drain_finishes_what_is_in_flight_and_takes_no_more),
    Mutation(drain_goes_on_taking, requests.test_a_drain_finishes_what_is_in_flight_and_takes_no_more),
    Mutation(timer_never_set, requests.test_a_late_answer_is_not_waited_for),
    Mutation(nobody_not_heard, requests.test_nobody_there_is_said_at_once),
    Mutation(credit_ignored, streams.test_the_server_waits_for_credit),
    Mutation(credit_never_returned, streams.test_chunks_come_in_order_to_the_end),
    Mutation(cancellation_lost, streams.test_leaving_stops_the_work_at_the_server),
    Mutation(cancellation_lost, streams.test_leaving_before_the_first_chunk_stops_the_work),
    Mutation(early_cancellation_lost, streams.test_what_left_while_it_waited_in_the_queue_is_never_begun),
    Mutation(order_unchecked, streams.test_a_lost_chunk_is_noticed),
    Mutation(chunks_held_back, streams.test_each_chunk_arrives_before_the_next_is_made),
    Mutation(no_probes, silence.test_a_server_that_dies_is_noticed_long_before_the_idle_timeout),
    Mutation(nobody_not_heard, silence.test_a_caller_that_dies_without_a_word_stops_the_work),
    Mutation(no_sign_of_life, silence.test_a_caller_that_dies_while_the_server_thinks_stops_the_work),
    Mutation(impatience_with_slow_readers, silence.test_a_slow_reader_is_not_taken_for_a_silent_server),
    Mutation(drain_cuts_off, events.test_a_drain_finishes_the_delivery_in_flight),
    Mutation(duplicates_kept, events.test_an_event_published_twice_is_kept_and_delivered_once),
    Mutation(acknowledged_before_handled, events.test_what_failed_comes_again_and_order_is_kept),
    Mutation(never_redelivered, events.test_what_failed_comes_again_and_order_is_kept),
    Mutation(order_lost_in_redelivery, events.test_what_failed_comes_again_and_order_is_kept),
    Mutation(poison_blocks, events.test_what_cannot_be_read_is_handed_over_and_passed),
    Mutation(caught_up_untold, events.test_the_watermark_passes_what_was_erased_at_the_end),
    Mutation(trace_dropped, events.test_the_trace_of_an_event_goes_on_where_it_is_handled),
    Mutation(tickets_reusable, events.test_a_ticket_can_be_created_once),
    Mutation(updates_unconditional, events.test_an_update_needs_the_revision_that_was_read),
    Mutation(nothing_evicted, events.test_a_full_cache_bucket_loses_its_oldest_entry),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.take_away.__name__}-{m.check.__name__}")
async def test_the_check_notices(mutation: Mutation, in_memory: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    # a check that is broken off leaves requests behind, whose failures are no news
    asyncio.get_running_loop().set_exception_handler(_ignore)
    mutation.take_away(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):
        async with asyncio.timeout(MUTANT_TIMEOUT_S):
            await mutation.check(in_memory, *mutation.arguments)
    monkeypatch.undo()
    await _clear_away()


async def _clear_away() -> None:
    """Ends what a broken-off check has left, here rather than in some later test."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    del left
    gc.collect()


async def test_the_one_message_check_notices_two(in_memory: Connect) -> None:
    with pytest.MonkeyPatch.context() as patch:
        end_in_a_message_of_its_own(patch)
        with pytest.raises(AssertionError):
            await streams.test_a_whole_answer_of_one_chunk_is_one_message(in_memory, patch)


def _silent(self: PullConsumer[Any], pulled: Any, word: bytes) -> None: ...


async def test_dropped_acknowledgements_are_noticed_on_nats(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PullConsumer, "_answer", _silent)
    async with TestBroker(tmp_path_factory.mktemp("broker")) as broker:
        with pytest.raises((AssertionError, TimeoutError)):
            async with asyncio.timeout(MUTANT_TIMEOUT_S):
                await events.test_an_event_published_twice_is_kept_and_delivered_once(broker.connect)
