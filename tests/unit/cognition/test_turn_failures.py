"""Turns in which something fails: replicas, clients that leave, services that restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.shared.contracts.chat import CHAT, ChatChunk
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.recall import FIND_CANDIDATES, READ_MEMORIES, READ_PROFILE
from libs.shared.contracts.scheduling import Placement, PlaceRequest, Ticket
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.contracts.turns import OPEN_TURN, OpenTurn, TurnKey
from libs.shared.errors import (
    AdapterNotFound,
    BackendFailed,
    NotYetApplied,
    Overloaded,
    Unsupported,
)
from libs.shared.sealing import new_key
from services.cognition import patience, turn
from services.cognition.generation import Generation
from services.cognition.retry_budget import RetryBudget
from tests.unit.cognition.asking import LIMIT_S, breaks_off, broken, follow, text, without_an_end
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import USAGE, Answers, Scheduler, whole


async def test_a_failed_replica_is_left_for_another_unnoticed(household: Build) -> None:
    home = await household(broken, whole)
    chunks = await home.ask(request())
    assert text(chunks) == "Your dog is Rex."
    async with asyncio.timeout(LIMIT_S):
        await home.scheduler.told.wait()
    (outcome,) = home.scheduler.outcomes
    assert (outcome.replica, outcome.ok, outcome.reason) == ("r0", False, "error")
    assert [q.exclude for q in home.scheduler.asked if q.kind == "chat"] == [(), ("r0",)]


async def test_where_nobody_else_has_the_adapter_the_failure_is_told(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await household(broken, whole)
    place = home.scheduler._place

    def placing(replicas: list[str], question: PlaceRequest, model: ServedModel) -> Placement:
        if question.exclude:
            raise AdapterNotFound("no other node has it")
        return place(replicas, question, model)

    monkeypatch.setattr(home.scheduler, "_place", placing)
    with pytest.raises(BackendFailed):
        await home.ask(request())


async def test_a_success_after_a_failure_is_told(household: Build) -> None:
    fails = iter([True, False])

    async def sometimes(given: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        async for chunk in broken(given) if next(fails) else whole(given):
            yield chunk

    home = await household(sometimes)
    with pytest.raises(BackendFailed):
        await home.ask(request())
    home.scheduler.told.clear()
    await home.ask(request(turn_id="t2"))
    async with asyncio.timeout(LIMIT_S):
        while len(home.scheduler.outcomes) < 2:
            home.scheduler.told.clear()
            await home.scheduler.told.wait()
    assert [o.ok for o in home.scheduler.outcomes] == [False, True]


async def test_a_full_replica_is_left_for_another(household: Build) -> None:
    async def full(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        raise Overloaded("queue is full", retry_after_s=2.0)
        yield

    home = await household(full, whole)
    assert text(await home.ask(request())) == "Your dog is Rex."


async def test_attempts_are_bounded(household: Build) -> None:
    home = await household(broken, broken, broken, broken, broken, generate_attempts=3)
    with pytest.raises(BackendFailed):
        await home.ask(request())
    assert len(home.inference.requests) == 3
    assert home.persistence.turns == []


async def check_break_off(home: Household) -> None:
    """The client has what came and an error that names the turn; what came is kept, as partial."""
    seen: list[ChatChunk] = []
    with pytest.raises(BackendFailed) as failure:
        await follow(home, seen)
    assert text(seen) == "Your dog "
    assert failure.value.data["turn_id"] == "t1"
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    (kept,) = home.persistence.turns
    assert kept.partial
    assert home.persistence.texts(kept)[-1] == ("assistant", "Your dog ")
    assert len(home.inference.requests) == 1, "another replica would begin the answer anew"


@pytest.mark.parametrize("ending", [breaks_off, without_an_end], ids=["error", "no end"])
async def test_an_answer_that_breaks_off_is_told_and_kept_partial(household: Build, ending: Answers) -> None:
    await check_break_off(await household(ending, whole))


async def test_a_request_that_is_wrong_in_itself_is_not_tried_again(household: Build) -> None:
    async def cannot(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        raise Unsupported("no grammar for this schema")
        yield

    home = await household(cannot, whole)
    with pytest.raises(Unsupported):
        await home.ask(request())
    assert len(home.inference.requests) == 1


async def test_a_client_that_leaves_cancels_the_generation_and_keeps_what_was_said(household: Build) -> None:
    async def endless(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="Your dog ")
        await asyncio.Event().wait()

    home = await household(endless)
    home.scheduler.ticket = Ticket(scheduler="one", number=1)
    async with asyncio.timeout(LIMIT_S):
        async with home.api.stream(CHAT, request()) as chunks:
            await anext(chunks)
        await home.inference.closed.wait()
        await home.persistence.applied.wait()
        await home.scheduler.told.wait()
    assert [(o.ok, o.ticket) for o in home.scheduler.outcomes] == [(None, home.scheduler.ticket)]
    (kept,) = home.persistence.turns
    assert kept.partial
    assert home.persistence.texts(kept)[-1] == ("assistant", "Your dog ")


async def test_a_client_that_leaves_before_the_first_token_leaves_nothing(household: Build) -> None:
    begun = asyncio.Event()

    async def silent(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        begun.set()
        await asyncio.Event().wait()
        yield GenerateChunk()

    home = await household(silent)
    async with asyncio.timeout(LIMIT_S):
        async with home.api.stream(CHAT, request()):
            await begun.wait()
        await home.inference.closed.wait()
    await home.ask(request(turn_id="t2", model="extractive"))
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert [t.turn_id for t in home.persistence.turns] == ["t2"]


async def test_an_unreadable_watermark_costs_the_memories_and_not_the_answer(household: Build) -> None:
    home = await household(whole)
    home.persistence.refusing["find"] = NotYetApplied("still catching up")
    assert text(await home.ask(request())) == "Your dog is Rex."


async def test_a_conversation_that_is_not_up_to_date_is_refused(household: Build) -> None:
    home = await household(whole)
    home.persistence.refusing["read_turns"] = NotYetApplied("still catching up")
    with pytest.raises(NotYetApplied):
        await home.ask(request(conversation_id="c1"))


async def test_a_model_that_does_not_stop_is_stopped(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        while True:
            yield GenerateChunk(text="dog " * 10, reasoning="hm " * 10)

    monkeypatch.setattr(turn, "LONGEST_ANSWER", 1000)
    home = await household(endless)
    with pytest.raises(BackendFailed):
        await home.ask(request())
    async with asyncio.timeout(LIMIT_S):
        await home.inference.closed.wait()
        await home.persistence.applied.wait()
    assert home.persistence.turns[0].partial


async def test_thinking_is_passed_on_and_never_kept(household: Build) -> None:
    async def thoughtful(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="secret one ")
        yield GenerateChunk(retracts=True)
        yield GenerateChunk(reasoning="secret two")
        yield GenerateChunk(text="Your dog is Rex.")
        yield GenerateChunk(finish_reason="stop", usage=USAGE)

    home = await household(thoughtful)
    chunks = await home.ask(request())
    assert "".join(chunk.reasoning for chunk in chunks) == "secret two"
    assert any(chunk.retracts for chunk in chunks)
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert home.persistence.texts(home.persistence.turns[0])[1] == ("assistant", "Your dog is Rex.")


async def test_services_that_restart_are_waited_for(household: Build) -> None:
    home = await household(whole, persistence=False, scheduler=False, restart_patience_s=5.0)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(request()))
        await asyncio.sleep(0)
        await home.persistence.start()
        await home.scheduler.start()
    assert text(asking.result()) == "Your dog is Rex."
    assert asking.result()[0].degraded is None


async def test_a_question_whose_server_died_is_asked_again(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_TRY_S", 0.1)
    home = await household(whole, persistence=False, restart_patience_s=LIMIT_S)
    lost = asyncio.Event()

    async def dies(_: OpenTurn) -> TurnKey:
        if not lost.is_set():
            lost.set()
            await asyncio.Event().wait()
        return TurnKey(slot=0, key=new_key())

    await home.persistence.bus.serve(OPEN_TURN, dies)
    await home.persistence.bus.serve(FIND_CANDIDATES, home.persistence.find)
    await home.persistence.bus.serve(READ_PROFILE, home.persistence.profile)
    await home.persistence.bus.serve(READ_MEMORIES, home.persistence.read_memories)
    async with asyncio.timeout(LIMIT_S):
        assert text(await home.ask(request())) == "Your dog is Rex."


async def test_trying_a_failed_replica_again_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Scheduler.place

    async def forgetful(self: Scheduler, asked: PlaceRequest) -> Placement:
        return await place(self, asked.model_copy(update={"exclude": ()}))

    monkeypatch.setattr(Scheduler, "place", forgetful)
    with pytest.raises(BackendFailed):
        await test_a_failed_replica_is_left_for_another_unnoticed(household)


async def test_beginning_an_answer_anew_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generation, "given", property(lambda _: None, lambda *_: None), raising=False)
    home = await household(breaks_off, whole)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check_break_off(home)


async def test_forgetting_a_partial_answer_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgets(*_: object) -> None:
        return None

    monkeypatch.setattr(turn.Turns, "_keep_partial", forgets)
    monkeypatch.setattr("tests.unit.cognition.test_turn_failures.LIMIT_S", 0.3)
    home = await household(breaks_off, whole)
    with pytest.raises(TimeoutError):
        await check_break_off(home)


async def test_without_a_retry_left_the_failure_is_told_at_once(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await household(broken, whole)
    assert text(await home.ask(request())) == "Your dog is Rex."
    monkeypatch.setattr(RetryBudget, "spend", lambda _: False)
    home = await household(broken, whole)
    with pytest.raises(BackendFailed):
        await home.ask(request())
