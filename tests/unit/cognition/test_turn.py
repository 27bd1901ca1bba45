"""The conversation turn, from the request to the last chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.shared.contracts.chat import CHAT, ChatChunk, ChatMessage
from libs.shared.contracts.common import MemoryMode, Position, Speaker
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.memory import FindCandidates
from libs.shared.contracts.sessions import SESSIONS, Session
from libs.shared.contracts.turns import OPEN_TURN, OpenTurn, ReadTurns, TurnKey, TurnMessage
from libs.shared.errors import (
    BackendFailed,
    ContextExceeded,
    ConversationNotFound,
    ModelNotFound,
    NotYetApplied,
    Overloaded,
    StorageFull,
    TimedOut,
    Unavailable,
    Unsupported,
)
from libs.shared.sealing import new_key
from services.cognition import presence, turn
from services.cognition.keeping import Keeper
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import USAGE, whole

LIMIT_S = 5


def text(chunks: list[ChatChunk]) -> str:
    return "".join(c.text for c in chunks)


def said(speaker: Speaker, words: str, message_id: str) -> TurnMessage:
    return TurnMessage(
        message_id=message_id, parent_id=None, speaker=speaker, text=words, at=datetime(2026, 1, 1, tzinfo=UTC)
    )


async def follow(home: Household, seen: list[ChatChunk]) -> None:
    """Collects what comes before an error."""
    async with home.api.stream(CHAT, request()) as chunks:
        async for chunk in chunks:
            seen.append(chunk)


async def broken(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    raise BackendFailed("out of memory", reason="oom")
    yield


async def breaks_off(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your dog ")
    raise BackendFailed("out of memory", reason="oom")


async def without_an_end(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your dog ")


# ---------------------------------------------------------------------- a whole turn


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
    await home.ask(request(turn_id="t2"))
    questions = [q for q in home.persistence.asked if isinstance(q, FindCandidates)]
    assert questions[-1].read_after == last.position


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


# ---------------------------------------------------------------------- without memory


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


# ---------------------------------------------------------------------- the prompt


async def test_memories_stand_in_the_prompt_and_are_explained(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is Rex.")
    chunks = await home.ask(request(explain=True))
    ((_, given),) = home.inference.requests
    assert "My dog is Rex." in given.messages[0].text
    assert given.messages[-1].text == "What is my dog called?"
    assert chunks[0].prompt == given.messages
    (recalled,) = chunks[0].recalled or ()
    assert recalled.score == pytest.approx(sum(recalled.parts.values()))


async def test_unasked_nothing_is_explained(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is Rex.")
    assert all(c.prompt is None and c.recalled is None for c in await home.ask(request()))


async def test_a_known_conversation_is_continued(household: Build) -> None:
    home = await household(whole)
    home.persistence.history["c1"] = (said(Speaker.USER, "Hello", "m1"), said(Speaker.ASSISTANT, "Hi!", "m2"))
    await home.ask(request(conversation_id="c1"))
    ((_, given),) = home.inference.requests
    assert [m.text for m in given.messages] == ["Hello", "Hi!", "What is my dog called?"]
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    (kept,) = home.persistence.turns
    assert (kept.conversation_id, kept.new_conversation) == ("c1", False)
    assert kept.messages[0].parent_id == "m2"


async def test_an_older_parent_makes_a_branch(household: Build) -> None:
    home = await household(whole)
    home.persistence.history["c1"] = (said(Speaker.USER, "Hello", "m1"),)
    await home.ask(request(conversation_id="c1", parent_id="m0"))
    (question,) = (q for q in home.persistence.asked if isinstance(q, ReadTurns))
    assert question.parent_id == "m0"
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert home.persistence.turns[0].messages[0].parent_id == "m0"


async def test_a_client_s_own_history_is_used_and_not_kept_again(household: Build) -> None:
    home = await household(whole)
    home.persistence.history["c1"] = (said(Speaker.USER, "kept", "m1"), said(Speaker.ASSISTANT, "kept too", "m2"))
    resent = (
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="edited"),
        ChatMessage(role="assistant", content="answer"),
        ChatMessage(role="user", content="now"),
    )
    await home.ask(request(conversation_id="c1", messages=resent))
    ((_, given),) = home.inference.requests
    assert given.messages == resent
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert home.persistence.texts(home.persistence.turns[0])[0] == ("user", "now")


async def test_what_stands_in_the_history_is_not_recalled_too(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is Rex.")
    home.persistence.history["c1"] = (said(Speaker.USER, "My dog is Rex.", "m1"),)
    chunks = await home.ask(request(conversation_id="c1", explain=True))
    assert chunks[0].recalled == ()


async def test_another_s_conversation_is_not_found(household: Build) -> None:
    home = await household(whole)
    with pytest.raises(ConversationNotFound):
        await home.ask(request(conversation_id="theirs"))
    assert home.inference.requests == []


async def test_a_prompt_that_the_model_finds_too_long_is_shortened(household: Build) -> None:
    async def strict(given: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        counted = sum(len(m.text) for m in given.messages)
        if counted > 1000:
            raise ContextExceeded("too long", prompt_tokens=counted, context_tokens=1000)
        async for chunk in whole(given):
            yield chunk

    home = await household(strict)
    home.persistence.history["c1"] = tuple(
        said(Speaker.USER if n % 2 == 0 else Speaker.ASSISTANT, f"line {n} " * 10, f"m{n}") for n in range(40)
    )
    assert text(await home.ask(request(conversation_id="c1"))) == "Your dog is Rex."
    assert len(home.inference.requests) > 1
    assert {replica for replica, _ in home.inference.requests} == {"r0"}
    assert home.scheduler.outcomes == []


async def test_a_message_too_long_in_itself_is_refused_with_the_figures(household: Build) -> None:
    async def never(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        raise ContextExceeded("too long", prompt_tokens=9999, context_tokens=1000)
        yield

    home = await household(never)
    with pytest.raises(ContextExceeded) as refusal:
        await home.ask(request())
    assert refusal.value.data == {"prompt_tokens": 9999, "context_tokens": 1000}
    assert len(home.inference.requests) == 1


# ---------------------------------------------------------------------- failures


async def test_a_failed_replica_is_left_for_another_unnoticed(household: Build) -> None:
    home = await household(broken, whole)
    chunks = await home.ask(request())
    assert text(chunks) == "Your dog is Rex."
    async with asyncio.timeout(LIMIT_S):
        await home.scheduler.told.wait()
    (outcome,) = home.scheduler.outcomes
    assert (outcome.replica, outcome.ok, outcome.reason) == ("r0", False, "error")
    assert [q.exclude for q in home.scheduler.asked if q.kind == "chat"] == [(), ("r0",)]


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


@pytest.mark.parametrize("ending", [breaks_off, without_an_end], ids=["error", "no end"])
async def test_an_answer_that_breaks_off_is_an_error_that_names_the_turn_and_is_kept_partial(
    household: Build, ending: object
) -> None:
    home = await household(ending, whole)
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
    async with asyncio.timeout(LIMIT_S):
        async with home.api.stream(CHAT, request()) as chunks:
            await anext(chunks)
        await home.inference.closed.wait()
        await home.persistence.applied.wait()
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


# ---------------------------------------------------------------------- without a model


async def test_without_a_model_the_memory_is_quoted_and_the_turn_kept(household: Build) -> None:
    home = await household()
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request())
    assert (chunks[0].model, chunks[0].degraded) == ("extractive", "no-model")
    assert "On 1 May 2026 you said: “My dog is called Rex.”" in text(chunks)
    assert len(chunks) > 3, "it comes a sentence at a time"
    assert chunks[-1].finish_reason == "stop"
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert home.persistence.turns[0].model == "extractive"


async def test_without_a_scheduler_the_memory_is_quoted(household: Build) -> None:
    home = await household(whole, scheduler=False)
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request())
    assert chunks[0].degraded == "no-model"
    assert "Rex" in text(chunks)


async def test_without_model_and_memory_it_explains_itself(household: Build) -> None:
    home = await household(persistence=False)
    chunks = await home.ask(request("Où est mon chien ?", memory=MemoryMode.OFF))
    assert chunks[0].degraded == "no-model"
    assert text(chunks).startswith("Aucun modèle de langue")


async def test_extractive_can_be_asked_for_by_name(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request(model="extractive", explain=True))
    assert (chunks[0].model, chunks[0].degraded) == ("extractive", None)
    assert [r.text for r in chunks[0].recalled or ()] == ["My dog is called Rex."]
    assert home.inference.requests == []


async def test_quotations_can_not_fill_a_schema(household: Build) -> None:
    home = await household(whole)
    with pytest.raises(Unsupported):
        await home.ask(request(model="extractive", tools={"response_format": {"type": "json_schema"}}))


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


async def test_a_model_that_does_not_exist_is_not_replaced(household: Build) -> None:
    home = await household(whole)
    with pytest.raises(ModelNotFound):
        await home.ask(request(model="gpt-9"))


async def test_a_request_for_a_schema_is_not_answered_by_quotations(household: Build) -> None:
    home = await household()
    with pytest.raises(Exception, match="none") as refusal:
        await home.ask(request(tools={"response_format": {"type": "json_schema"}}))
    assert getattr(refusal.value, "code", "") == "no_model"


async def test_the_missing_model_is_logged_once_and_not_for_each_request(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []

    class Log:
        def warning(self, event: str, **_: object) -> None:
            warned.append(event)

    monkeypatch.setattr(presence, "log", Log())
    home = await household()
    for number in range(5):
        await home.ask(request(turn_id=f"t{number}"))
    assert warned == ["no_language_model"]


async def test_services_that_restart_are_waited_for(household: Build) -> None:
    home = await household(whole, persistence=False, scheduler=False, restart_patience_s=5.0)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(request()))
        await asyncio.sleep(0)
        await home.persistence.start()
        await home.scheduler.start()
    assert text(asking.result()) == "Your dog is Rex."
    assert asking.result()[0].degraded is None


async def test_a_question_whose_server_died_is_asked_again(household: Build) -> None:
    home = await household(whole, persistence=False, restart_patience_s=0.3)
    lost = asyncio.Event()

    async def dies(_: OpenTurn) -> TurnKey:
        if not lost.is_set():
            lost.set()
            await asyncio.Event().wait()
        return TurnKey(slot=0, key=new_key())

    await home.persistence.bus.serve(OPEN_TURN, dies)
    async with asyncio.timeout(LIMIT_S):
        assert text(await home.ask(request())) == "Your dog is Rex."


async def test_a_conversation_is_opened_at_the_position_that_the_user_knows(household: Build) -> None:
    home = await household(whole)
    await home.ask(request(read_after=Position(epoch="e", sequence=9)))
    (opened,) = (q for q in home.persistence.asked if isinstance(q, OpenTurn))
    assert opened.read_after == Position(epoch="e", sequence=9)
