"""An answer that was drafted is given once, to the very same question, and goes with what it was derived of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatRequest, Sampling
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.memory import MEMORY_CHANGED, MemoryChanged
from libs.shared.contracts.replay import READ_ASKED, AskedRead, ReadAsked
from libs.shared.contracts.runtime_settings import Canary, RuntimeSettings
from libs.shared.contracts.scheduling import PREEMPT, JobPlacement, Placement, Preempt
from libs.shared.contracts.watching import TURN_MEASURED, TurnMeasured
from services.cognition.dreaming import drafts as drafting
from services.cognition.dreaming.drafts import Drafts
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import LLAMA, whole
from tests.unit.cognition.test_dreaming import WEATHER, daily, prepare, turns

ROOM = JobPlacement(placement=Placement(node_id="node", replica="r0", model=LLAMA, policy="job"), room=True)
REMOTE = LLAMA.model_copy(update={"remote": True})


def again(text: str = WEATHER, turn_id: str = "t2", **about: object) -> ChatRequest:
    return request(text, turn_id=turn_id, **about)


async def drafting_house(household: Build, answers: Any = whole, **settings: Any) -> Household:
    """Whose user asks one thing every day at this hour, and whose memory knows of it."""
    home = await household(answers, runtime=RuntimeSettings(**settings))
    home.persistence.remember("My calendar: kayak at nine.")
    asked = turns(daily(WEATHER, range(1, 8), now=datetime.now(UTC), hour=1.0))

    async def read(_: ReadAsked) -> AskedRead:
        return AskedRead(asked=asked)

    await home.persistence.bus.serve(READ_ASKED, read)
    await home.scheduler.has_room(ROOM)
    return home


def waited_for(home: Household) -> int:
    """How often a model was asked by somebody who waits."""
    return sum(not asked.background for _, asked in home.inference.requests)


async def check_a_drafted_answer_is_there_at_once(household: Build) -> None:
    home = await drafting_house(household)
    assert (await prepare(home)).drafted == 1
    assert [asked.background for _, asked in home.inference.requests] == [True]
    chunks = await home.ask(again())
    assert "".join(chunk.text for chunk in chunks) == "Your dog is Rex."
    assert waited_for(home) == 0
    assert chunks[-1].finish_reason == "stop"
    assert (await prepare(home)).drafts_given == 1


async def test_a_drafted_answer_is_there_at_once(household: Build) -> None:
    await check_a_drafted_answer_is_there_at_once(household)


async def test_the_check_notices_that_drafts_are_not_kept(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drafts, "keep", lambda *given: None)
    with pytest.raises(AssertionError):
        await check_a_drafted_answer_is_there_at_once(household)


async def test_how_soon_a_draft_is_there_counts_for_no_setting(household: Build) -> None:
    home = await drafting_house(household)
    told = asyncio.Queue[TurnMeasured]()
    await home.optimizer.subscribe(TURN_MEASURED, told.put)
    await prepare(home)
    await home.ask(again())
    await home.ask(again(turn_id="t3"))
    async with asyncio.timeout(5):
        drafted, answered = await told.get(), await told.get()
    assert drafted.first_s is None
    assert answered.first_s is not None


async def test_it_is_given_once_and_whoever_tries_again_gets_another(household: Build) -> None:
    home = await drafting_house(household)
    await prepare(home)
    await home.ask(again())
    await home.ask(again(turn_id="t3"))
    assert waited_for(home) == 1


@pytest.mark.parametrize(
    "other",
    [
        again("What is on my calendar now?"),
        again(user_id="u2"),
        again(sampling=Sampling(temperature=0.0)),
        again(model="llama", sampling=Sampling(max_tokens=5)),
    ],
)
async def test_nobody_gets_an_answer_to_something_else(household: Build, other: ChatRequest) -> None:
    home = await drafting_house(household)
    await prepare(home)
    await home.ask(other)
    assert waited_for(home) == 1


async def check_what_the_memory_says_by_now_counts(household: Build) -> None:
    home = await drafting_house(household)
    await prepare(home)
    home.persistence.remember("Now my calendar says: piano at ten.")
    await home.ask(again())
    assert waited_for(home) == 1


async def test_what_the_memory_says_by_now_counts(household: Build) -> None:
    await check_what_the_memory_says_by_now_counts(household)


async def test_the_check_notices_a_draft_that_is_found_by_its_question_alone(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "_key", lambda asked, placement, prompt: asked.messages[-1].text.encode())
    with pytest.raises(AssertionError):
        await check_what_the_memory_says_by_now_counts(household)


async def check_it_goes_with_what_is_forgotten(household: Build) -> None:
    home = await drafting_house(household)
    await prepare(home)
    await home.persistence.bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id="u1"))
    await home.ask(again())
    assert waited_for(home) == 1


async def test_it_goes_with_what_is_forgotten(household: Build) -> None:
    await check_it_goes_with_what_is_forgotten(household)


async def test_the_check_notices_a_draft_that_outlives_what_it_was_made_of(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Drafts, event: MemoryChanged) -> None: ...

    monkeypatch.setattr(Drafts, "changed", nothing)
    with pytest.raises(AssertionError):
        await check_it_goes_with_what_is_forgotten(household)


async def test_a_model_that_drafts_stops_when_somebody_asks_something(household: Build) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def endless(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="It ")
        begun.set()
        await never.wait()

    home = await drafting_house(household, endless)
    async with asyncio.timeout(10):
        preparing = asyncio.create_task(prepare(home))
        await begun.wait()
        await home.api.broadcast(PREEMPT, Preempt())
        assert (await preparing).drafted == 0
        await home.inference.closed.wait()


@pytest.mark.parametrize(
    "settings",
    [{"drafted_answers": 0}, {"default_model": "llama:mine"}, {"chat_canary": Canary(model="llama:mine", share=0.1)}],
)
async def test_none_is_drafted_where_people_want_none_or_an_adapter_would_answer(
    household: Build, settings: dict[str, Any]
) -> None:
    home = await drafting_house(household, **settings)
    assert (await prepare(home)).drafted == 0
    assert home.inference.requests == []


async def test_no_remote_model_hears_what_nobody_asked(household: Build) -> None:
    home = await drafting_house(household)
    assert ROOM.placement is not None
    far = ROOM.placement.model_copy(update={"model": REMOTE})
    home.scheduler.rooms = [JobPlacement(placement=far, room=True)]
    assert (await prepare(home)).drafted == 0
    assert home.inference.requests == []
