"""A turn that cognition never took is told to whoever watches what changes do: nobody else can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatMessage, ChatRequest
from libs.shared.contracts.watching import TURN_UNANSWERED, TurnMeasured
from libs.shared.errors import Unavailable
from services.api import turns
from services.api.turns import opened
from tests.unit.api.house import whole_turn

TURN = ChatRequest(turn_id="t1", user_id="u1", messages=(ChatMessage(role="user", content="Hello"),))


class Watch:
    """Who hears of it."""

    def __init__(self) -> None:
        self.told: list[TurnMeasured] = []

    async def unanswered(self, turn: TurnMeasured) -> None:
        self.told.append(turn)


async def asked(*, answers: bool) -> list[TurnMeasured]:
    """What is told of one turn."""
    broker, watch = MemoryBroker(), Watch()
    principals = (Principal.API, Principal.OPTIMIZER, Principal.COGNITION)
    api, optimizer, cognition = [await broker.connect(one) for one in principals]
    await optimizer.subscribe(TURN_UNANSWERED, watch.unanswered)

    async def chat(turn: ChatRequest) -> AsyncIterator[ChatChunk]:
        for chunk in whole_turn(turn):
            yield chunk

    if answers:
        await cognition.serve_stream(CHAT, chat)
    with nullcontext() if answers else pytest.raises(Unavailable):
        async with asyncio.timeout(5), opened(api, TURN, patience_s=0.2) as (_, rest):
            assert [chunk async for chunk in rest]
    for bus in (api, cognition, optimizer):
        await bus.drain(1.0)
    return watch.told


async def test_a_turn_that_nobody_takes_is_told_as_failed() -> None:
    (told,) = await asked(answers=False)
    assert told.failed


async def test_one_that_is_answered_is_cognitions_to_tell() -> None:
    assert await asked(answers=True) == []


async def test_without_telling_it_nobody_would_know(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        """Says nothing."""

    monkeypatch.setattr(turns, "_tell_unanswered", silent)
    assert await asked(answers=False) == []
