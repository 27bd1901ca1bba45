"""Background work hears of a request before anything else is done for it, and no request fails for want of silence."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import ChatChunk, ChatRequest
from libs.shared.contracts.scheduling import PREEMPT, Preempt
from libs.shared.errors import Unavailable
from services.api.preemption import AGAIN_S, Preemption
from tests.unit.api.house import Api, House, whole_turn

LIMIT_S = 5


class Worker:
    """What works in the background, and hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.told = asyncio.Event()

    async def stop(self, preempt: Preempt) -> None:
        self.heard.append(preempt.kind)
        self.told.set()

    async def until_told(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.told.wait()


async def listening(house: House) -> Worker:
    worker = Worker()
    await house.buses[Principal.COGNITION].subscribe(PREEMPT, worker.stop)
    return worker


async def check_a_chat_is_announced_before_its_turn_begins(api: Api, house: House) -> None:
    worker = await listening(house)
    heard_first: list[bool] = []

    def answer(request: ChatRequest) -> list[ChatChunk]:
        heard_first.append(worker.told.is_set())
        return whole_turn(request)

    house.answer = answer
    answered = await api.ask(api.key())
    assert answered.status_code == 200
    assert (heard_first, worker.heard) == ([True], ["chat"])


async def test_a_chat_is_announced_before_its_turn_begins(api: Api, house: House) -> None:
    await check_a_chat_is_announced_before_its_turn_begins(api, house)


async def test_a_chat_that_is_not_announced_would_be_noticed(
    api: Api, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        """Says nothing."""

    monkeypatch.setattr(Preemption, "tell", silent)
    with pytest.raises(AssertionError):
        await check_a_chat_is_announced_before_its_turn_begins(api, house)


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("POST", "/v1/embeddings", {"input": "Hello"}, "embed"),
        ("GET", "/api/v1/memories?q=hello", None, "search"),
    ],
)
async def test_whatever_else_somebody_waits_for_is_announced(
    api: Api, house: House, method: str, path: str, body: object, kind: str
) -> None:
    worker = await listening(house)
    await api.client.request(method, path, json=body, headers=api.key())
    await worker.until_told()
    assert worker.heard == [kind]


async def test_a_stranger_stops_nobodys_work(api: Api, house: House) -> None:
    worker = await listening(house)
    for headers in ({}, {"authorization": "Bearer mg-unknown"}):
        assert (await api.ask(headers)).status_code == 401
    assert worker.heard == []


async def test_a_burst_is_announced_once_and_the_next_one_again() -> None:
    now = 0.0
    broker = MemoryBroker()
    bus, cognition = await broker.connect(Principal.API), await broker.connect(Principal.COGNITION)
    worker = Worker()
    await cognition.subscribe(PREEMPT, worker.stop)
    preemption = Preemption(bus, lambda: now)
    for now in (0.0, AGAIN_S / 2, AGAIN_S, 1.5 * AGAIN_S):  # noqa: B007 - the clock reads it
        await preemption.tell("chat")
    await bus.drain(1.0)
    await worker.until_told()
    await cognition.drain(1.0)
    assert worker.heard == ["chat"] * 2


class Flaky:
    """A bus whose broker is away the first time."""

    def __init__(self) -> None:
        self.told = 0

    async def broadcast(self, *_: object) -> None:
        self.told += 1
        if self.told == 1:
            raise Unavailable("the broker is away")


async def test_without_a_broker_a_request_goes_on_and_the_next_one_is_announced() -> None:
    flaky = Flaky()
    preemption = Preemption(cast("Bus", flaky), lambda: 0.0)
    for _ in range(3):
        await preemption.tell("chat")
    assert flaky.told == 2
