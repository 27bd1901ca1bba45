"""What was asked is replayed while its asker allows it, as numbers: real persistence, and cognition's own replaying."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.memory import FORGET_MEMORY, MEMORY_CHANGED, MemoryChanged, MemoryRef
from libs.shared.contracts.ratings import Thumb
from libs.shared.contracts.replay import (
    READ_ASKED,
    REPLAY_ASKED,
    STILL_ALLOWED,
    AskedTurn,
    Evidence,
    ReadAsked,
    ReplayAsked,
    StillAllowed,
)
from services.cognition.embedding import Embedder
from services.cognition.outcomes import Outcomes
from services.cognition.replaying.replaying import Replayer
from services.cognition.traffic import Traffic
from services.persistence.postgres import Statement
from services.persistence.repositories import asked
from tests.integration.persistence.test_ratings_and_consents import rate
from tests.support.persistence import START, Client, RunningPersistence
from tests.support.remembering import Entry, import_turns, index
from tests.support.trained import choose, talk

LATER = START + timedelta(days=1)


@pytest.fixture
async def optimizer(persistence: RunningPersistence, broker: MemoryBroker, client: Client) -> AsyncIterator[Bus]:
    replayer = Replayer(client.cognition, Embedder(client.cognition, Outcomes(client.cognition)), Traffic())
    await client.cognition.serve(REPLAY_ASKED, replayer.replay)
    bus = await broker.connect(Principal.OPTIMIZER)
    yield bus
    await bus.drain(1)


async def read(client: Client, **more: object) -> list[AskedTurn]:
    return list((await client.cognition.request(READ_ASKED, ReadAsked.model_validate(more))).asked)


async def check_only_what_is_allowed_is_read(client: Client, persistence: RunningPersistence) -> None:
    willing, other = await client.user(), await client.user()
    turn = await talk(client, persistence, willing, "kept", "which board?", "a Pi 5")
    await talk(client, persistence, willing, "unremembered", "a secret?", "none")
    await talk(client, persistence, other, "other", "mine", "yours")
    unremembered = ChangeConversation(user_id=willing, conversation_id="unremembered", remembered=False)
    await client.bus.request(CHANGE_CONVERSATION, unremembered)
    assert await read(client) == []
    await choose(client, willing, tuning=True)
    (one,) = await read(client)
    assert one == AskedTurn(
        turn_id=turn.turn_id,
        user_id=willing,
        conversation_id="kept",
        question="which board?",
        answer="a Pi 5",
        at=turn.messages[0].at,
    )
    await choose(client, willing, tuning=False)
    assert await read(client) == []


async def test_only_what_is_allowed_is_read(client: Client, persistence: RunningPersistence) -> None:
    await check_only_what_is_allowed_is_read(client, persistence)


async def test_the_check_notices_that_consent_is_ignored(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked.ALLOWED_SQL in asked.PAGE_SQL
    everybody = asked.PAGE_SQL.replace(asked.ALLOWED_SQL, "true")
    everybody = everybody.replace(
        "JOIN conversations AS c ON c.user_id = p.user_id", "RIGHT JOIN conversations AS c ON c.user_id = p.user_id"
    )
    everybody = everybody.replace("t.user_id = p.user_id", "t.user_id = c.user_id")
    monkeypatch.setattr(asked, "_PAGE", Statement(everybody))
    with pytest.raises((AssertionError, ValueError)):
        await check_only_what_is_allowed_is_read(client, persistence)


async def test_training_consent_allows_no_replay(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    assert not (await choose(client, user_id, future=True, share_adapters=True)).tuning
    await talk(client, persistence, user_id, "c", "which board?", "a Pi 5")
    assert await read(client) == []


async def test_answers_that_say_nothing_are_not_read(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await choose(client, user_id, tuning=True)
    quoting = "These are quotes from my memory, without a language model. I found nothing."
    made = [
        (await client.turn(user_id, "c", "broke off", "a0")).model_copy(update={"partial": True}),
        (await client.turn(user_id, "c", "quoted", "a1")).model_copy(update={"model": "extractive"}),
        await client.turn(user_id, "c", "quoted, too", quoting),
        await client.turn(user_id, "c", "unanswered"),
    ]
    for turn in made:
        await persistence.parts.watermark.wait_for(await client.publish(turn))
    disliked = await talk(client, persistence, user_id, "c", "rated down", "a4")
    liked = await talk(client, persistence, user_id, "c", "rated up", "a5")
    halved = await talk(client, persistence, user_id, "c", "forgotten", "a6")
    await rate(client, user_id, disliked.turn_id, Thumb.DOWN)
    await rate(client, user_id, liked.turn_id, Thumb.UP)
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=halved.messages[0].message_id))
    assert [one.question for one in await read(client)] == ["rated up"]


async def test_every_question_comes_once_in_bounded_pages(client: Client, persistence: RunningPersistence) -> None:
    users = [await client.user(), await client.user()]
    for n in range(7):
        at = START + timedelta(minutes=n // 2)
        await talk(client, persistence, users[n % 2], f"c{n % 2}", f"question {n}", f"answer {n}", at=at)
    for user_id in users:
        await choose(client, user_id, tuning=True)
    pages, cursor = [], None
    while True:
        page = await client.cognition.request(READ_ASKED, ReadAsked(limit=2, cursor=cursor))
        pages.append([one.question for one in page.asked])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(question for page in pages for question in page) == [f"question {n}" for n in range(7)]
    assert max(map(len, pages)) == 2
    since = START + timedelta(minutes=3)
    assert [one.question for one in await read(client, since=since)] == ["question 6"]


async def check_what_is_withdrawn_or_forgotten_is_no_longer_allowed(
    client: Client, persistence: RunningPersistence, optimizer: Bus
) -> None:
    user_id, other = await client.user(), await client.user()
    kept, gone = [await talk(client, persistence, user_id, "c", f"q{n}", f"a{n}") for n in range(2)]
    theirs = await talk(client, persistence, other, "d", "q", "a")
    for who in (user_id, other):
        await choose(client, who, tuning=True)
    ids = (kept.turn_id, gone.turn_id, theirs.turn_id)
    assert set((await optimizer.request(STILL_ALLOWED, StillAllowed(turn_ids=ids))).turn_ids) == set(ids)
    for message in gone.messages:
        await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=message.message_id))
    await choose(client, other, tuning=False)
    assert (await optimizer.request(STILL_ALLOWED, StillAllowed(turn_ids=ids))).turn_ids == (kept.turn_id,)


async def test_what_is_withdrawn_or_forgotten_is_no_longer_allowed(
    client: Client, persistence: RunningPersistence, optimizer: Bus
) -> None:
    await check_what_is_withdrawn_or_forgotten_is_no_longer_allowed(client, persistence, optimizer)


async def house_with_a_question(client: Client, persistence: RunningPersistence) -> str:
    """A user who told of a violet kayak, asked for it in another conversation, and told more of it later."""
    user_id = await client.user()
    before = await import_turns(client, user_id, "told", "the kayak is violet", "the garden has a fence")
    await talk(client, persistence, user_id, "asking", "kayak colour?", "the kayak is violet", at=LATER)
    turn = await talk(
        client, persistence, user_id, "since", "the kayak is violet indeed", "noted", at=LATER + timedelta(days=1)
    )
    await index(client, user_id, [Entry(one.id, one.text) for one in before])
    await index(client, user_id, [Entry(turn.messages[0].message_id, "the kayak is violet indeed")])
    return user_id


async def test_a_question_is_replayed_as_it_was_in_numbers_alone(
    client: Client, persistence: RunningPersistence, optimizer: Bus
) -> None:
    user_id = await house_with_a_question(client, persistence)
    page = await optimizer.request(REPLAY_ASKED, ReplayAsked())
    assert page.evidence == ()
    await choose(client, user_id, tuning=True)
    page = await optimizer.request(REPLAY_ASKED, ReplayAsked())
    (one,) = [one for one in page.evidence if one.relevant]
    assert isinstance(one, Evidence)
    assert len(page.evidence) == page.passed_over + 1, "what rests on nothing is told by its costs"
    garden, kayak = 7, 6
    assert one.tokens == (garden, kayak), "what was told later, or in the conversation itself, is no candidate"
    assert one.relevant == (1,)
    assert "terms" in one.parts
    assert len(one.columns) == 4 * 2 * len(one.parts)
    said = page.model_dump_json()
    assert not any(word in said for word in ("kayak", "violet", "colour", user_id))


async def test_withdrawing_drops_what_others_keep_of_the_memory(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    heard: asyncio.Queue[MemoryChanged] = asyncio.Queue()
    await client.cognition.subscribe(MEMORY_CHANGED, heard.put)
    user_id = await client.user()
    await choose(client, user_id, tuning=True)
    await choose(client, user_id, tuning=False)
    async with asyncio.timeout(5):
        assert (await heard.get()).user_id == user_id


def test_numbers_go_to_the_optimizer_and_texts_to_cognition_alone() -> None:
    assert REPLAY_ASKED.callers == STILL_ALLOWED.callers == {Principal.OPTIMIZER}
    assert READ_ASKED.callers == {Principal.COGNITION}
    texts = {name for name, field in Evidence.model_fields.items() if field.annotation is str}
    assert texts == {"turn_id", "conversation_id"}
