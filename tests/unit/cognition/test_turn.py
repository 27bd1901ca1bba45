"""The conversation turn, from the request to the last chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from libs.shared.contracts.chat import CHAT, ChatChunk
from libs.shared.contracts.common import MemoryMode, Position
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.recall import FindCandidates
from libs.shared.contracts.sessions import SESSIONS, Session
from libs.shared.contracts.turns import OpenTurn, ReadTurns, TurnCompleted
from libs.shared.errors import (
    StorageFull,
    TimedOut,
    Unavailable,
)
from services.cognition import turn
from services.cognition.keeping import Keeper
from tests.unit.cognition.asking import LIMIT_S, follow, text
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import USAGE, whole


async def test_a_turn_is_answered_kept_and_then_ended(household: Build) -> None:
    home = await household(whole)
    chunks = await home.ask(request())
    assert text(chunks) == "Your dog is Rex."
    first, last = chunks[0], chunks[-1]
    assert (first.model, first.degraded) == ("llama", None)
    assert first.conversation_id
    assert (last.finish_reason, last.usage) == ("stop", USAGE)
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    (kept,) = home.persistence.turns
    assert home.persistence.texts(kept) == [("user", "What is my dog called?"), ("assistant", "Your dog is Rex.")]
    assert kept.new_conversation
    assert kept.conversation_id == first.conversation_id
    assert not kept.partial
    assert last.message_id == kept.messages[-1].message_id
    assert [m.parent_id for m in kept.messages] == [None, kept.messages[0].message_id]


async def test_the_next_reader_waits_for_the_turn(household: Build) -> None:
    home = await household(whole)
    last = (await home.ask(request()))[-1]
    kept = await home.api.bucket(SESSIONS).get("u1")
    assert kept is not None
    assert Session.model_validate_json(kept).position == last.position
    conversation_id = last.conversation_id or "c1"
    home.persistence.history[conversation_id] = ()
    home.persistence.asked.clear()
    await home.ask(request(turn_id="t2", conversation_id=conversation_id))
    waiting = [q for q in home.persistence.asked if isinstance(q, FindCandidates | OpenTurn | ReadTurns)]
    # OPEN_TURN too: the conversation's first turn may still be on its way
    assert {type(q): q.read_after for q in waiting} == dict.fromkeys(
        (FindCandidates, OpenTurn, ReadTurns), last.position
    )


async def test_the_client_s_own_position_goes_first(household: Build) -> None:
    home = await household(whole)
    position = Position(epoch="e", sequence=9)
    await home.ask(request(read_after=position))
    assert [q.read_after for q in home.persistence.asked if isinstance(q, FindCandidates)] == [position]


async def check_nothing_ends_before_it_is_kept(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full disk the client gets an error, and never a chunk that looks like an end."""
    home = await household(whole)

    async def full(*_: object, **__: object) -> Position:
        raise StorageFull("no space")

    monkeypatch.setattr(home.cognition, "publish", full)
    seen: list[ChatChunk] = []
    with pytest.raises(StorageFull):
        await follow(home, seen)
    assert all(c.finish_reason is None for c in seen)


async def test_a_turn_that_can_not_be_kept_never_ends_well(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_nothing_ends_before_it_is_kept(household, monkeypatch)


async def test_ending_before_keeping_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_kept(*_: object) -> None:
        return None

    monkeypatch.setattr(Keeper, "keep", not_kept)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check_nothing_ends_before_it_is_kept(household, monkeypatch)


async def check_leaving_while_it_is_kept(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves while the turn is written loses the word of it, and not the turn."""
    home = await household(whole)
    writing, go_on = asyncio.Event(), asyncio.Event()
    publish = home.cognition.publish

    async def slowly(*args: Any, **named: Any) -> Position:
        writing.set()
        await go_on.wait()
        return await publish(*args, **named)

    monkeypatch.setattr(home.cognition, "publish", slowly)
    async with asyncio.timeout(LIMIT_S):
        async with home.api.stream(CHAT, request()) as chunks:
            await anext(chunks)
            await writing.wait()
        for _ in range(50):
            await asyncio.sleep(0)  # the bus in memory takes a few turns of the loop to bring the cancellation
        go_on.set()
        await home.persistence.applied.wait()
    (kept,) = home.persistence.turns
    assert not kept.partial


async def test_leaving_while_it_is_kept_loses_nothing(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_leaving_while_it_is_kept(household, monkeypatch)


async def test_a_keeping_that_can_be_interrupted_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def plainly(work: Coroutine[Any, Any, object], _: float) -> object:
        return await work

    monkeypatch.setattr(turn, "completed", plainly)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await check_leaving_while_it_is_kept(household, monkeypatch)


async def test_keeping_has_its_bound() -> None:
    with pytest.raises(TimedOut):
        await turn.completed(asyncio.Event().wait(), 0.01)


async def test_chunks_are_forwarded_as_they_come(household: Build) -> None:
    go_on = asyncio.Event()

    async def slowly(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="one")
        await go_on.wait()
        yield GenerateChunk(finish_reason="stop", usage=USAGE)

    home = await household(slowly)
    async with asyncio.timeout(LIMIT_S), home.api.stream(CHAT, request()) as chunks:
        assert (await anext(chunks)).text == "one"
        go_on.set()
        assert (await anext(chunks)).finish_reason == "stop"


async def test_without_memory_nothing_of_persistence_is_touched(household: Build) -> None:
    home = await household(whole, persistence=False)
    chunks = await home.ask(request(memory=MemoryMode.OFF))
    assert text(chunks) == "Your dog is Rex."
    assert (chunks[-1].position, chunks[-1].message_id, chunks[0].conversation_id) == (None, None, None)
    assert home.persistence.asked == []
    ((_, given),) = home.inference.requests
    assert given.messages == request().messages


async def test_reading_recalls_and_keeps_nothing(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is Rex.")
    chunks = await home.ask(request(memory=MemoryMode.READ, explain=True))
    assert chunks[-1].position is None
    assert [r.text for r in chunks[0].recalled or ()] == ["My dog is Rex."]
    assert not any(isinstance(q, OpenTurn) for q in home.persistence.asked)


async def test_reading_goes_on_when_the_memory_is_out_of_reach(household: Build) -> None:
    home = await household(whole, persistence=False)
    assert text(await home.ask(request(memory=MemoryMode.READ))) == "Your dog is Rex."


async def test_a_turn_to_be_kept_is_refused_while_it_can_not_be(household: Build) -> None:
    home = await household(whole, persistence=False)
    with pytest.raises(Unavailable):
        await home.ask(request())
    assert home.inference.requests == []


async def test_a_conversation_is_opened_at_the_position_that_the_user_knows(household: Build) -> None:
    home = await household(whole)
    await home.ask(request(read_after=Position(epoch="e", sequence=9)))
    (opened,) = (q for q in home.persistence.asked if isinstance(q, OpenTurn))
    assert opened.read_after == Position(epoch="e", sequence=9)


async def kept_turn(home: Household) -> TurnCompleted:
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    return home.persistence.turns[0]


async def check_what_stood_in_the_prompt_is_told(home: Household) -> None:
    home.persistence.remember("My dog is Rex.")
    home.persistence.remember("It rains.")
    await home.ask(request())
    assert (await kept_turn(home)).recalled == ("m0",)


async def test_the_memories_that_stood_in_the_prompt_count_as_used(household: Build) -> None:
    await check_what_stood_in_the_prompt_is_told(await household(whole))


async def test_the_memories_that_an_answer_quotes_count_as_used(household: Build) -> None:
    await check_what_stood_in_the_prompt_is_told(await household())


async def test_uses_that_are_not_told_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "MOST_RECALLED", 0)
    with pytest.raises(AssertionError):
        await check_what_stood_in_the_prompt_is_told(await household(whole))


@pytest.mark.parametrize("remember", [True, False])
async def test_a_conversation_that_is_not_to_be_remembered_says_so(household: Build, remember: bool) -> None:
    home = await household(whole)
    await home.ask(request(remember=remember))
    assert (await kept_turn(home)).remembered is remember
