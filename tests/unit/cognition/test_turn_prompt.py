"""What a turn's model is given: memories, the conversation so far, and no more than it can take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.turns import ReadTurns
from libs.shared.errors import (
    ContextExceeded,
    ConversationNotFound,
)
from tests.unit.cognition.asking import LIMIT_S, said, text
from tests.unit.cognition.conftest import Build, request
from tests.unit.cognition.household import whole


async def test_memories_stand_in_the_prompt_and_are_explained(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is Rex.")
    chunks = await home.ask(request(explain=True))
    ((_, given),) = home.inference.requests
    assert "My dog is Rex." in given.messages[-1].text
    assert given.messages[-1].text.endswith("\n\nWhat is my dog called?")
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
