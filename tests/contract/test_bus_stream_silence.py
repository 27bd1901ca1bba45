"""Streams whose other side is late, slow or dead, on NATS and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.errors import (
    TimedOut,
    Unavailable,
)
from tests.contract.conftest import Connect
from tests.support.conversations import REPLICA, count_to_ten, prompt
from tests.support.streaming import NARROW, PATIENCE_S, Endless, pair


async def test_a_first_chunk_that_is_late_is_not_waited_for(connect: Connect) -> None:
    server, caller = await pair(connect)
    stopped = asyncio.Event()

    async def stuck(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        try:
            await asyncio.Event().wait()
            yield GenerateChunk()
        finally:
            stopped.set()

    await server.serve_stream(GENERATE, stuck, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(TimedOut):
            async with caller.stream(GENERATE, prompt(), first_timeout_s=0.1, replica=REPLICA) as chunks:
                await anext(chunks)
        await stopped.wait()


async def test_silence_between_chunks_ends_the_stream(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def stalls(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="one")
        await asyncio.Event().wait()

    impatient = replace(GENERATE, idle_timeout_s=0.1)
    await server.serve_stream(GENERATE, stalls, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(TimedOut):  # noqa: PT012  (the refusal may come at any step)
            async with caller.stream(impatient, prompt(), replica=REPLICA) as chunks:
                async for chunk in chunks:
                    assert chunk.text == "one"


async def test_a_slow_reader_is_not_taken_for_a_silent_server(connect: Connect) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("libs.shared.bus.stream_call.PROBE_EVERY_S", 0.05)
        await _read_slowly(connect)


async def _read_slowly(connect: Connect) -> None:
    server, caller = await pair(connect)
    impatient = replace(NARROW, idle_timeout_s=0.3)
    await server.serve_stream(NARROW, count_to_ten, replica=REPLICA)
    heard = []
    async with asyncio.timeout(PATIENCE_S), caller.stream(impatient, prompt(), replica=REPLICA) as chunks:
        async for chunk in chunks:
            heard.append(chunk.text)
            if chunk.text in ("0", "5"):
                await asyncio.sleep(0.5)
    assert len(heard) == 10


async def test_a_caller_that_takes_nothing_more_is_given_up(connect: Connect) -> None:
    server, caller = await pair(connect)
    endless = Endless()
    await server.serve_stream(replace(NARROW, idle_timeout_s=0.1), endless, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S), caller.stream(NARROW, prompt(), replica=REPLICA) as chunks:
        await anext(chunks)
        await endless.stopped.wait()


async def test_a_caller_that_dies_without_a_word_stops_the_work(connect: Connect) -> None:
    server, caller = await pair(connect)
    endless = Endless()
    await server.serve_stream(GENERATE, endless, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with suppress(Unavailable):
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)
                await caller.transport.close()
                await endless.stopped.wait()
                async for _ in chunks:
                    pass
    assert endless.stopped.is_set(), "the caller's own error is suppressed, the work's end is not"


async def test_a_caller_that_dies_while_the_server_thinks_stops_the_work(connect: Connect) -> None:
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
            await caller.transport.close()
            await stopped.wait()


async def test_a_server_that_dies_is_noticed_long_before_the_idle_timeout(connect: Connect) -> None:
    server, caller = await pair(connect)

    async def stalls(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="one")
        await asyncio.Event().wait()

    await server.serve_stream(GENERATE, stalls, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):  # noqa: PT012  (the refusal may come at any step)
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)
                await server.transport.close()
                await anext(chunks)


async def test_a_quiet_server_that_is_alive_is_waited_for(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.shared.bus.stream_call.PROBE_EVERY_S", 0.05)
    server, caller = await pair(connect)

    async def thinks(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        await asyncio.sleep(0.6)
        yield GenerateChunk(text="at last")

    await server.serve_stream(GENERATE, thinks, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S), caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
        assert [chunk.text async for chunk in chunks] == ["at last"]


async def test_a_restarted_server_that_knows_nothing_of_the_stream_ends_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.shared.bus.stream_call.PROBE_EVERY_S", 0.05)
    server, caller = await pair(connect)

    async def stalls(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="one")
        await asyncio.Event().wait()

    await server.serve_stream(GENERATE, stalls, replica=REPLICA)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):  # noqa: PT012  (the refusal may come at any step)
            async with caller.stream(GENERATE, prompt(), replica=REPLICA) as chunks:
                await anext(chunks)
                again = await connect(Principal.INFERENCE)
                await again.serve_stream(GENERATE, count_to_ten, replica=REPLICA)
                await server.transport.close()
                await anext(chunks)
