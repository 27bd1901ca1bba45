"""A setting that is tried out holds for a conversation as a whole, in all that its turns use, and each turn says so."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import MemoryMode, Speaker
from libs.shared.contracts.ledger import Trial
from libs.shared.contracts.runtime_settings import RecallWeights
from libs.shared.contracts.turns import Joined
from libs.shared.contracts.watching import TURN_MEASURED, TurnMeasured
from libs.shared.errors import Internal, ServiceError
from libs.shared.runtime_settings import ForConversation, InUse
from libs.shared.shares import arm_of
from services.cognition.turn_measures import MOST_CONVERSATIONS, Conversations
from tests.unit.cognition.asking import LIMIT_S, said
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import whole

FORGETFUL = Trial(change_id="c1", key="recall_k", value=0, share=0.5)
TALKS = [f"talk-{number}" for number in range(16)]


class Trying:
    """A household in which something is tried out, and what is heard of its turns."""

    def __init__(self, home: Household) -> None:
        self.home = home
        self.heard = asyncio.Queue[TurnMeasured]()

    async def say(self, **how: Any) -> tuple[bool, TurnMeasured]:
        """Whether the model was given the memory, and what the turn told."""
        with suppress(ServiceError):
            await self.home.ask(request(**how))
        async with asyncio.timeout(LIMIT_S):
            turn = await self.heard.get()
        given = self.home.inference.requests[-1][1] if self.home.inference.requests else None
        return given is not None and "Rex" in given.messages[-1].text, turn


async def trying(household: Build, trial: Trial | None = FORGETFUL) -> Trying:
    home = await household(whole)
    home.trial = trial
    home.persistence.remember("My dog is Rex.")
    for talk in TALKS:
        home.persistence.history[talk] = (said(Speaker.USER, "Hello", "m1"),)
    found = Trying(home)

    async def told(turn: TurnMeasured) -> None:
        found.heard.put_nowait(turn)

    await home.optimizer.subscribe(TURN_MEASURED, told)
    return found


async def check_conversations_keep_their_arm(household: Build) -> None:
    using = await trying(household)
    for again in (False, True):
        for talk in TALKS:
            recalls, turn = await using.say(conversation_id=talk)
            tried = arm_of(FORGETFUL, talk).tried
            assert turn.arm is not None
            assert (recalls, turn.arm.tried, turn.arm.change_id, turn.again) == (not tried, tried, "c1", again)


async def test_a_conversation_has_what_is_tried_out_in_all_of_its_turns_or_in_none(household: Build) -> None:
    assert {arm_of(FORGETFUL, talk).tried for talk in TALKS} == {False, True}
    await check_conversations_keep_their_arm(household)


async def test_the_check_notices_turns_that_are_parted_one_by_one(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(4)
    monkeypatch.setattr("libs.shared.shares.place", lambda what, conversation: draw.random())
    with pytest.raises(AssertionError):
        await check_conversations_keep_their_arm(household)


async def test_the_check_notices_a_cognition_that_ignores_the_trial(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        InUse, "for_conversation", lambda self, talk: ForConversation(self.settings, arm_of(self.trial, talk))
    )
    with pytest.raises(AssertionError):
        await check_conversations_keep_their_arm(household)


@pytest.mark.parametrize("tried", [False, True])
async def test_a_client_that_resends_its_history_has_the_arm_of_the_conversation_that_it_belongs_to(
    household: Build, tried: bool
) -> None:
    using = await trying(household)
    talk = next(one for one in TALKS if arm_of(FORGETFUL, one).tried is tried)
    using.home.persistence.place = Joined(conversation_id=talk, parent_id="m1")
    texts = (("user", "Hello"), ("assistant", "Hi!"), ("user", "What is my dog called?"))
    messages = tuple(ChatMessage.model_validate({"role": role, "content": text}) for role, text in texts)
    recalls, turn = await using.say(messages=messages)
    assert turn.arm is not None
    assert (recalls, turn.arm.tried) == (not tried, tried)


async def test_a_new_conversation_is_kept_under_the_id_that_chose_its_arm(household: Build) -> None:
    using = await trying(household)
    for number in range(8):
        _, turn = await using.say(turn_id=f"t{number}")
        async with asyncio.timeout(LIMIT_S):
            while len(using.home.persistence.turns) <= number:
                using.home.persistence.applied.clear()
                await using.home.persistence.applied.wait()
        kept = using.home.persistence.turns[-1]
        assert turn.arm == arm_of(FORGETFUL, kept.conversation_id)
        assert turn.began == kept.messages[0].at


async def test_what_is_not_kept_is_a_conversation_of_its_own(household: Build) -> None:
    using = await trying(household)
    turns = [(await using.say(turn_id=f"t{n}", memory=MemoryMode.READ))[1] for n in range(8)]
    assert [turn.arm for turn in turns] == [arm_of(FORGETFUL, f"t{n}") for n in range(8)]
    assert not any(turn.again for turn in turns)


async def test_a_turn_that_fails_before_it_is_answered_says_which_arm_it_had(household: Build) -> None:
    using = await trying(household)
    using.home.persistence.refusing["find"] = Internal()
    talk = next(one for one in TALKS if not arm_of(FORGETFUL, one).tried)
    _, turn = await using.say(conversation_id=talk)
    assert (turn.failed, turn.arm) == (True, arm_of(FORGETFUL, talk))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recall_weights", dict.fromkeys(RecallWeights().model_dump(), 0.0)),
        ("recall_min_score", 1.0),
        ("prompt_memory_share", 0.0),
        ("recall_k", 0),
    ],
)
async def test_everything_that_a_turn_uses_is_its_conversations(household: Build, key: str, value: object) -> None:
    using = await trying(household, Trial(change_id="c1", key=key, value=value, share=0.5))
    seen = {talk: (await using.say(conversation_id=talk))[0] for talk in TALKS}
    assert seen == {talk: not arm_of(FORGETFUL, talk).tried for talk in TALKS}


async def test_where_nothing_is_tried_out_turns_have_no_arm(household: Build) -> None:
    using = await trying(household, None)
    found = [await using.say(conversation_id=talk) for talk in TALKS[:2] * 2]
    assert [(recalls, turn.arm, turn.again) for recalls, turn in found] == [(True, None, n > 1) for n in range(4)]


def test_conversations_are_counted_anew_in_each_trial_and_so_many_are_known() -> None:
    told = Conversations()
    assert [told.again("a", trial) for trial in (None, None, "c1", "c1", None)] == [False, True, False, True, False]
    for number in range(MOST_CONVERSATIONS):
        told.again(str(number), None)
    assert not told.again("a", None)
    assert told.again(str(MOST_CONVERSATIONS - 1), None)
