"""Streams, on NATS and in memory: order, credit, cancellation, end, and what happens when one side dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from libs.shared.bus.stream_call import StreamCall
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import KIB, Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.errors import (
    BackendFailed,
    Cancelled,
    Internal,
    InvalidRequest,
    Overloaded,
    TooLarge,
    Unavailable,
)
from tests.contract.conftest import Connect
from tests.support.conversations import REPLICA, altered, count_to_ten, prompt
from tests.support.streaming import NARROW, PATIENCE_S, Endless, pair, settle


async def test_chunks_come_in_order_to_the_end(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def count(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        for number in range(500):
            yield GenerateChunk(text=str(number))

    await server.serve_stream(GENERATE, count, replica=REPLICA)
    async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        assert [chunk.text async for chunk in chunks] == [str(n) for n in range(500)]


async def test_an_empty_stream_ends(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def silent(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        if request.model == "":
            yield GenerateChunk()

    await server.serve_stream(GENERATE, silent, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S), caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        assert [chunk async for chunk in chunks] == []


async def test_a_whole_answer_of_one_chunk_is_one_message(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    server, caller = await pair(connect)

    async def whole(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="all of it", finish_reason="stop")

    await server.serve_stream(GENERATE, whole, replica=REPLICA)
    fed: list[Incoming] = []
    feed = StreamCall.feed

    def count(call: StreamCall[GenerateChunk], incoming: Incoming) -> None:
        fed.append(incoming)
        feed(call, incoming)

    monkeypatch.setattr(StreamCall, "feed", count)
    async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        assert [chunk.text async for chunk in chunks] == ["all of it"]
    assert len(fed) == 1


async def test_each_chunk_arrives_before_the_next_is_made(connect: Connect) -> None:
    server, caller = await pair(connect)
    taken = asyncio.Semaphore(0)

    async def in_step(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        for number in range(5):
            yield GenerateChunk(text=str(number))
            await taken.acquire()

    await server.serve_stream(GENERATE, in_step, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S), caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        async for _ in chunks:
            taken.release()


async def test_the_server_waits_for_credit(connect: Connect) -> None:
    server, caller = await pair(connect)
    endless = Endless()
    await server.serve_stream(NARROW, endless, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S), caller.stream(NARROW, prompt(), replica=REPLICA) as chunks:
        assert (await anext(chunks)).text == "1"
        await endless.begun.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        ahead = endless.made
        assert ahead <= NARROW.window + 2
        for _ in range(20):
            await anext(chunks)
        assert endless.made > ahead


async def test_leaving_stops_the_work_at_the_server(connect: Connect) -> None:
    server, caller = await pair(connect)
    endless = Endless()
    await server.serve_stream(GENERATE, endless, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
            await anext(chunks)
        async with asyncio.timeout(0.1):
            await endless.stopped.wait()


async def test_leaving_before_the_first_chunk_stops_the_work(connect: Connect) -> None:
    server, caller = await pair(connect)
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def thinking(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield GenerateChunk()
        finally:
            stopped.set()

    await server.serve_stream(GENERATE, thinking, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        async with caller.stream(GENERATE, prompt(), replica=REPLICA):
            await begun.wait()
        await stopped.wait()


async def test_what_left_while_it_waited_in_the_queue_is_never_begun(connect: Connect) -> None:
    server, caller = await pair(connect)
    server._width = 1
    asked: list[str] = []
    go_on, first = asyncio.Event(), asyncio.Event()

    async def slow(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        asked.append(request.messages[0].text)
        first.set()
        await go_on.wait()
        yield GenerateChunk(text="done")

    await server.serve_stream(GENERATE, slow, replica=REPLICA)

    async def ask(text: str) -> list[str]:
        async with caller.stream(GENERATE, prompt(text), replica=REPLICA) as chunks:
            return [chunk.text async for chunk in chunks]

    async with asyncio.timeout(PATIENCE_S):
        one = asyncio.create_task(ask("one"))
        await first.wait()
        two, three = asyncio.create_task(ask("two")), asyncio.create_task(ask("three"))
        await settle(caller, server)
        two.cancel()
        with suppress(asyncio.CancelledError):
            await two
        await settle(caller, server)
        go_on.set()
        assert await one == await three == ["done"]
    assert asked == ["one", "three"]


async def test_more_streams_than_the_queue_holds_are_refused(connect: Connect) -> None:
    server, caller = await pair(connect)
    server._width, server._backlog = 1, 0
    endless = Endless()
    await server.serve_stream(GENERATE, endless, replica=REPLICA)
    async with caller.stream(GENERATE, prompt(), replica=REPLICA) as first:
        await anext(first)
        with pytest.raises(Overloaded):
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as second:
                await anext(second)


async def test_a_refusal_comes_after_the_chunks_before_it(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def breaks(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="some")
        raise BackendFailed("the model broke off", reason="crashed")

    await server.serve_stream(GENERATE, breaks, replica=REPLICA)
    heard = []
    with pytest.raises(BackendFailed) as refused:  # noqa: PT012  (the refusal may come at any step)
        async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
            async for chunk in chunks:
                heard.append(chunk.text)
    assert heard == ["some"]
    assert refused.value.data == {"reason": "crashed"}


async def test_a_fault_in_a_stream_is_told_as_internal_without_its_words(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def fails(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk()
        raise RuntimeError("hunter2")

    await server.serve_stream(GENERATE, fails, replica=REPLICA)
    with pytest.raises(Internal) as refused:  # noqa: PT012  (the refusal may come at any step)
        async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
            async for _ in chunks:
                pass
    assert "hunter2" not in repr(refused.value)


async def test_a_request_that_breaks_the_contract_is_refused(connect: Connect) -> None:
    server, caller = await pair(connect)
    await server.serve_stream(GENERATE, count_to_ten, replica=REPLICA)
    other = altered(GENERATE, request=GenerateChunk)
    with pytest.raises(InvalidRequest):
        async with caller.stream(other, GenerateChunk(), replica=REPLICA) as chunks:
            await anext(chunks)


async def test_nobody_there_is_said_at_once_for_a_stream(connect: Connect) -> None:
    caller = await connect(Principal.COGNITION)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)


async def test_a_lost_chunk_is_noticed(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    server, caller = await pair(connect)
    await server.serve_stream(GENERATE, count_to_ten, replica=REPLICA)
    feed = StreamCall.feed

    def lossy(call: StreamCall[GenerateChunk], incoming: Incoming) -> None:
        if b'"text":"3"' not in incoming.body:
            feed(call, incoming)

    monkeypatch.setattr(StreamCall, "feed", lossy)
    heard = []
    with pytest.raises(Unavailable):  # noqa: PT012  (the refusal may come at any step)
        async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
            async for chunk in chunks:
                heard.append(chunk.text)
    assert heard == ["0", "1", "2"]


@pytest.mark.parametrize("size", [600 * KIB, 5000 * KIB])
async def test_large_requests_and_chunks_cross_in_a_stream(connect: Connect, size: int) -> None:
    server, caller = await pair(connect)

    async def repeat(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        for _ in range(3):
            yield GenerateChunk(text=request.messages[0].text)

    await server.serve_stream(NARROW, repeat, replica=REPLICA)
    async with asyncio.timeout(20), caller.stream(NARROW, prompt("y" * size), replica=REPLICA) as chunks:
        assert [len(chunk.text) async for chunk in chunks] == [size] * 3


async def test_a_chunk_over_its_limit_is_refused(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def huge(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="x" * GENERATE.max_bytes)

    await server.serve_stream(GENERATE, huge, replica=REPLICA)
    with pytest.raises(TooLarge):
        async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
            await anext(chunks)


async def test_a_drain_lets_a_stream_finish_and_cuts_off_what_never_would(connect: Connect) -> None:
    server, caller = await pair(connect)
    endless = Endless()
    await server.serve_stream(GENERATE, endless, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Cancelled):  # noqa: PT012  (the refusal may come at any step)
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)
                draining = asyncio.create_task(server.drain(0.2))
                async for _ in chunks:
                    pass
        await draining
        assert endless.stopped.is_set()
