"""Who works, who waits and who is refused."""

from __future__ import annotations

import asyncio

import pytest

from libs.shared.errors import Overloaded
from services.inference.admission import Admission, Ticket


def admission(slots: int = 1, max_queue: int = 2, kind: type[Admission] = Admission) -> Admission:
    return kind(slots, max_queue, lambda urgent: None)


async def queue_up(place: Admission, count: int) -> list[asyncio.Task[Ticket]]:
    """So many requests that wait."""
    before = place.queued
    waiting = [asyncio.create_task(place.enter(10)) for _ in range(count)]
    for _ in range(count):
        await asyncio.sleep(0)
    assert place.queued == before + count
    return waiting


async def check_that_it_refuses_beyond_its_queue(kind: type[Admission]) -> None:
    place = admission(kind=kind)
    await place.enter(10)
    waiting = await queue_up(place, 2)
    extra = asyncio.create_task(place.enter(10))
    done, _ = await asyncio.wait([extra], timeout=0.05)
    for task in waiting:
        task.cancel()
    assert extra in done
    assert isinstance(extra.exception(), Overloaded)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    place = admission(max_queue=0)
    first = await place.enter(10)
    with pytest.raises(Overloaded) as refused:
        await place.enter(10)
    assert refused.value.data["retry_after_s"] == pytest.approx(5.0)
    place.leave(first, 0.5)
    await place.enter(10)
    with pytest.raises(Overloaded) as refused:
        await place.enter(10)
    assert refused.value.data["retry_after_s"] == pytest.approx(0.5)


async def test_what_is_beyond_slots_and_queue_is_refused() -> None:
    await check_that_it_refuses_beyond_its_queue(Admission)


async def test_the_check_of_refusal_notices_an_unbounded_queue() -> None:
    class Unbounded(Admission):
        def __init__(self, slots: int, max_queue: int, changed: object) -> None:
            super().__init__(slots, 10**9, lambda urgent: None)

    with pytest.raises(AssertionError):
        await check_that_it_refuses_beyond_its_queue(Unbounded)


async def test_waiting_requests_are_called_in_order() -> None:
    place = admission(max_queue=3)
    ticket = await place.enter(10)
    waiting = await queue_up(place, 3)
    for task in waiting:
        place.leave(ticket, 0.1)
        async with asyncio.timeout(5):
            ticket = await task
        assert place.in_flight == 1
    assert place.queued == 0


async def test_requests_and_tokens_are_counted_apart_by_working_and_waiting() -> None:
    place = admission(slots=2)
    first = await place.enter(100)
    await place.enter(50)
    waiting = await queue_up(place, 2)
    assert (place.in_flight, place.in_flight_tokens, place.queued, place.queued_tokens) == (2, 150, 2, 20)
    place.leave(first, 0.1)
    await waiting[0]
    assert (place.in_flight, place.in_flight_tokens, place.queued, place.queued_tokens) == (2, 60, 1, 10)
    waiting[1].cancel()


async def test_one_that_gives_up_waiting_leaves_no_trace() -> None:
    place = admission()
    ticket = await place.enter(10)
    (waiting,) = await queue_up(place, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (place.queued, place.queued_tokens, place.in_flight) == (0, 0, 1)
    place.leave(ticket, 0.1)
    assert place.in_flight == 0


async def test_a_slot_given_to_one_that_gave_up_in_that_moment_goes_on() -> None:
    place = admission()
    ticket = await place.enter(10)
    first, second = await queue_up(place, 2)
    place.leave(ticket, 0.1)
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert (place.in_flight, place.queued) == (1, 0)


async def test_a_cancellation_before_the_slot_is_free_does_not_count_it_twice() -> None:
    place = admission()
    ticket = await place.enter(10)
    first, second = await queue_up(place, 2)
    first.cancel()
    place.leave(ticket, 0.1)
    async with asyncio.timeout(5):
        await second
    await asyncio.wait([first])
    assert (place.in_flight, place.queued) == (1, 0)


async def test_more_slots_let_those_in_that_wait_and_fewer_end_nothing() -> None:
    place = admission()
    await place.enter(10)
    first, second = await queue_up(place, 2)
    place.resize(2)
    async with asyncio.timeout(5):
        await first
    assert (place.in_flight, place.queued) == (2, 1)
    place.resize(1)
    assert (place.in_flight, place.queued) == (2, 1)
    place.leave(Ticket(10), 0.1)
    assert not second.done()
    second.cancel()
