"""Clients that resend their history: where their turns are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import MemoryMode, Speaker
from libs.shared.contracts.turns import Joined, JoinTurn, OpenTurn, Resent, TurnCompleted
from tests.unit.cognition.asking import LIMIT_S
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import whole

HISTORY = (
    ChatMessage(role="system", content="Today is Monday."),
    ChatMessage(role="user", content="I have a dog."),
    ChatMessage(role="assistant", content="What is it called?"),
)
NOW = ChatMessage(role="user", content="Rex.")


def resent(*messages: ChatMessage, **more: Any) -> Any:
    return request(messages=(*HISTORY, *messages), **more)


def asked(home: Household) -> JoinTurn | None:
    return next((question for question in home.persistence.asked if isinstance(question, JoinTurn)), None)


async def kept(home: Household) -> TurnCompleted:
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    (turn,) = home.persistence.turns
    return turn


async def test_a_history_is_asked_for_without_the_system_prompt_and_its_place_is_taken(household: Build) -> None:
    home = await household(whole)
    home.persistence.place = Joined(conversation_id="c7", parent_id="m3")
    chunks = await home.ask(resent(NOW))
    assert asked(home) == JoinTurn(
        user_id="u1",
        before=(
            Resent(speaker=Speaker.USER, text="I have a dog."),
            Resent(speaker=Speaker.ASSISTANT, text="What is it called?"),
        ),
        said=("Rex.",),
    )
    turn = await kept(home)
    assert (turn.conversation_id, turn.new_conversation, turn.joined) == ("c7", False, True)
    assert turn.messages[0].parent_id == "m3"
    assert chunks[0].conversation_id == "c7"
    assert home.persistence.texts(turn)[0] == ("user", "Rex.")


async def test_a_history_that_nobody_knows_begins_a_conversation_with_the_new_turn_alone(household: Build) -> None:
    home = await household(whole)
    await home.ask(resent(NOW))
    turn = await kept(home)
    assert (turn.new_conversation, turn.joined, turn.messages[0].parent_id) == (True, False, None)
    assert [text for _, text in home.persistence.texts(turn)] == ["Rex.", "Your dog is Rex."]


async def test_a_tool_s_result_goes_on_under_the_question_that_asked_for_it(household: Build) -> None:
    home = await household(whole)
    home.persistence.place = Joined(conversation_id="c7", parent_id="m4")
    call = ChatMessage(role="assistant", tool_calls=({"id": "1"},))
    await home.ask(resent(NOW, call, ChatMessage(role="tool", content="4", tool_call_id="1")))
    question = asked(home)
    assert question is not None
    assert [one.text for one in question.before] == ["I have a dog.", "What is it called?", "Rex."]
    turn = await kept(home)
    assert [(m.speaker, m.parent_id) for m in turn.messages] == [(Speaker.ASSISTANT, "m4")]


@pytest.mark.parametrize(
    "about",
    [
        {"conversation_id": "c1"},
        {"memory": MemoryMode.READ},
        {"memory": MemoryMode.OFF},
    ],
)
async def test_it_is_not_asked_where_it_would_not_count(household: Build, about: dict[str, Any]) -> None:
    home = await household(whole)
    home.persistence.history["c1"] = ()
    await home.ask(resent(NOW, **about))
    assert asked(home) is None


@pytest.mark.parametrize(("about", "asks"), [({}, False), ({"again": True}, True), ({"chat": "k/1"}, True)])
async def test_a_first_message_is_asked_for_where_it_may_be_known(
    household: Build, about: dict[str, Any], asks: bool
) -> None:
    home = await household(whole)
    await home.ask(request(**about))
    assert (asked(home) is not None) is asks
    assert any(isinstance(question, OpenTurn) for question in home.persistence.asked)
