"""The replica for embeddings tells apart what somebody waits for and what nobody does."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from libs.shared.contracts.inference import EmbedRequest
from libs.shared.contracts.scheduling import Preempt
from libs.shared.errors import Preempted
from services.inference.embedder_specs import Purpose
from services.inference.embedders import Embedders
from services.inference.embedding import EmbeddingReplica
from services.inference.replica import Identity

LIMIT_S = 5


class Slow:
    """Embedders that are at work until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.stopped = 0

    def stop_background(self) -> None:
        self.stopped += 1

    def most_tokens(self, name: str) -> int:
        return 256

    def served(self) -> tuple[()]:
        return ()

    async def embed(self, name: str, texts: tuple[str, ...], purpose: Purpose, *, background: bool) -> object:
        await self.go.wait()
        raise RuntimeError("enough")


async def test_requests_in_the_background_are_told_apart_and_no_longer_once_they_failed() -> None:
    slow = Slow()
    replica = EmbeddingReplica(Identity("a", "a-0", "boot"), cast("Embedders", slow), lambda _: None)
    asked = [
        asyncio.create_task(replica.embed(EmbedRequest(model="minilm", texts=("x",), background=background)))
        for background in (True, True, False)
    ]
    await asyncio.sleep(0)
    state = replica.snapshot().state
    assert (state.in_flight, state.background) == (3, 2)
    assert state.to_read_tokens is not None
    assert state.in_flight_tokens == 3 * state.to_read_tokens > 0, "those in the background hold nobody up"
    slow.go.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*asked, return_exceptions=True)
    state = replica.snapshot().state
    assert (state.in_flight, state.background, state.to_read_tokens) == (0, 0, 0)


async def test_what_comes_in_the_background_right_after_a_request_is_sent_back() -> None:
    slow = Slow()
    replica = EmbeddingReplica(Identity("a", "a-0", "boot"), cast("Embedders", slow), lambda _: None)
    await replica.preempted(Preempt())
    assert slow.stopped == 1
    with pytest.raises(Preempted):
        await replica.embed(EmbedRequest(model="minilm", texts=("x",), background=True))
    waited_for = asyncio.create_task(replica.embed(EmbedRequest(model="minilm", texts=("x",))))
    await asyncio.sleep(0)
    assert replica.snapshot().state.in_flight == 1
    slow.go.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait([waited_for])
