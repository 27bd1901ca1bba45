"""What the trainer is given: what its owner allows at that moment, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.material import (
    COUNT_MATERIAL,
    RECORD_DATASET,
    TRAINING_MATERIAL,
    Chosen,
    CountMaterial,
    Exchange,
    Member,
    RecordDataset,
    TrainingMaterial,
)
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from libs.shared.contracts.ratings import Thumb
from services.persistence import handing_over
from services.persistence.postgres import Statement
from services.persistence.repositories import consents, material
from tests.integration.persistence.test_ratings_and_consents import rate
from tests.support.persistence import START, Client, RunningPersistence, imported
from tests.support.trained import allow, choose, talk


@pytest.fixture
async def trainer(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.TRAINER)
    yield bus
    await bus.drain(1)


async def given(trainer: Bus, *owners: str, chosen: Chosen = Chosen.ALLOWED) -> list[Exchange]:
    async with trainer.stream(TRAINING_MATERIAL, TrainingMaterial(owners=owners, chosen=chosen)) as chunks:
        return [exchange async for chunk in chunks for exchange in chunk.exchanges]


async def check_only_what_is_allowed_is_given(client: Client, persistence: RunningPersistence, trainer: Bus) -> None:
    user_id, other = await client.user("Ana"), await client.user()
    turn = await talk(client, persistence, user_id, "allowed", "which board?", "a Pi 5")
    for where in ("never asked", "withdrawn", "not remembered"):
        kept = await talk(client, persistence, user_id, where.replace(" ", "-"), where, where)
        await rate(client, user_id, kept.turn_id)
    liked = await talk(client, persistence, other, "other", "mine", "yours")
    await rate(client, other, liked.turn_id)
    for where in ("allowed", "withdrawn", "not-remembered"):
        await allow(client, user_id, where)
    await allow(client, user_id, "withdrawn", False)
    unremembered = ChangeConversation(user_id=user_id, conversation_id="not-remembered", remembered=False)
    await client.bus.request(CHANGE_CONVERSATION, unremembered)
    (exchange,) = await given(trainer)
    assert exchange == Exchange(
        turn_id=turn.turn_id,
        conversation_id="allowed",
        owner=user_id,
        owner_name="Ana",
        version=turn.messages[0].text.slot,
        question="which board?",
        answer="a Pi 5",
        at=turn.messages[1].at,
        model="test",
    )
    assert await given(trainer, other) == []


async def test_only_what_is_allowed_is_given(client: Client, persistence: RunningPersistence, trainer: Bus) -> None:
    await check_only_what_is_allowed_is_given(client, persistence, trainer)


async def test_the_check_notices_material_without_consent(
    client: Client, persistence: RunningPersistence, trainer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert consents.ALLOWED_SQL in material.PAGE_SQL
    monkeypatch.setattr(material, "_PAGE", Statement(material.PAGE_SQL.replace(consents.ALLOWED_SQL, "true")))
    with pytest.raises((AssertionError, ValueError)):
        await check_only_what_is_allowed_is_given(client, persistence, trainer)


async def check_an_answer_that_was_rated_down_is_not_given(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    user_id = await client.user()
    turns = [await talk(client, persistence, user_id, "c", f"q{n}", f"a{n}") for n in range(3)]
    await allow(client, user_id, "c")
    await rate(client, user_id, turns[0].turn_id, Thumb.UP)
    await rate(client, user_id, turns[1].turn_id, Thumb.DOWN)
    found = await given(trainer)
    assert {(exchange.turn_id, exchange.rating) for exchange in found} == {
        (turns[0].turn_id, Thumb.UP),
        (turns[2].turn_id, None),
    }
    assert [exchange.turn_id for exchange in await given(trainer, chosen=Chosen.RATED_UP)] == [turns[0].turn_id]


async def test_an_answer_that_was_rated_down_is_not_given(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    await check_an_answer_that_was_rated_down_is_not_given(client, persistence, trainer)


async def test_the_check_notices_an_answer_that_was_rated_down(
    client: Client, persistence: RunningPersistence, trainer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaking = material.PAGE_SQL.replace("r.thumb IS DISTINCT FROM 'down'", "true")
    monkeypatch.setattr(material, "_PAGE", Statement(leaking))
    with pytest.raises(AssertionError):
        await check_an_answer_that_was_rated_down_is_not_given(client, persistence, trainer)


async def test_partial_and_quoted_answers_are_marked(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    user_id = await client.user()
    quoting = "These are quotes from my memory, without a language model. I found nothing."
    made = [
        (await client.turn(user_id, "c", "q0", "a0")).model_copy(update={"partial": True}),
        (await client.turn(user_id, "c", "q1", "a1")).model_copy(update={"model": "extractive"}),
        await client.turn(user_id, "c", "q2", quoting),
        await client.turn(user_id, "c", "q3", "a3"),
    ]
    for turn in made:
        await persistence.parts.watermark.wait_for(await client.publish(turn))
    await allow(client, user_id, "c")
    marks = {exchange.question: (exchange.partial, exchange.quoted) for exchange in await given(trainer)}
    assert marks == {"q0": (True, False), "q1": (False, True), "q2": (False, True), "q3": (False, False)}


async def test_an_exchange_is_a_question_with_its_answer(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    user_id = await client.user()
    await client.import_turns(user_id, imported("t1", "somebody else's words", within="c"))
    await talk(client, persistence, user_id, "c", "nobody answers")
    halved = await talk(client, persistence, user_id, "c", "to be forgotten", "an answer that stays")
    await talk(client, persistence, user_id, "c", "whole", "answer")
    await allow(client, user_id, "c")
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=halved.messages[0].message_id))
    assert [(exchange.question, exchange.answer) for exchange in await given(trainer)] == [("whole", "answer")]


async def test_what_the_default_allows_is_given(client: Client, persistence: RunningPersistence, trainer: Bus) -> None:
    user_id = await client.user()
    since = (await choose(client, user_id, future=True)).future_since
    assert since is not None
    await talk(client, persistence, user_id, "before", "q", "a", at=since - timedelta(seconds=30))
    await talk(client, persistence, user_id, "after", "q", "a", at=since + timedelta(seconds=30))
    assert [exchange.conversation_id for exchange in await given(trainer)] == ["after"]


async def test_all_of_it_is_given_once_in_bounded_pieces(
    client: Client, persistence: RunningPersistence, trainer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_over, "_TURNS_AT_ONCE", 3)
    monkeypatch.setattr(handing_over, "_CHUNK_CHARACTERS", 20)
    owners = [await client.user(), await client.user()]
    said = set()
    for owner in owners:
        for n in range(7):
            await talk(client, persistence, owner, f"of-{owner}", f"question {n}", f"answer {n}")
            said.add((owner, f"question {n}"))
        await allow(client, owner, f"of-{owner}")
    async with trainer.stream(TRAINING_MATERIAL, TrainingMaterial()) as stream:
        chunks = [chunk async for chunk in stream]
    found = [(exchange.owner, exchange.question) for chunk in chunks for exchange in chunk.exchanges]
    assert (set(found), len(found)) == (said, 14)
    assert {len(chunk.exchanges) for chunk in chunks} == {1}
    assert [exchange.owner for exchange in await given(trainer, owners[0])] == [owners[0]] * 7


async def test_what_is_withdrawn_while_it_is_handed_over_is_not_given_any_more(
    client: Client, persistence: RunningPersistence, trainer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_over, "_TURNS_AT_ONCE", 1)
    user_id = await client.user()
    for n in range(40):
        await talk(client, persistence, user_id, "c", f"q{n}", f"a{n}")
    await allow(client, user_id, "c")
    found = 0
    async with trainer.stream(TRAINING_MATERIAL, TrainingMaterial()) as chunks:
        async for chunk in chunks:
            if found == 0:
                await allow(client, user_id, "c", False)
            found += len(chunk.exchanges)
    assert 0 < found <= 2 * TRAINING_MATERIAL.window + 2


async def test_conversations_that_trained_something_are_not_given_to_measure_it(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    user_id = await client.user("Ana")
    for where in ("trained", "since"):
        for said in ("one", "two"):
            await talk(client, persistence, user_id, where, f"{where} {said}", said)
        await allow(client, user_id, where)
    (member, *_) = [one for one in await given(trainer, user_id) if one.conversation_id == "trained"]
    record = RecordDataset(dataset_id="d1", members=(Member(turn_id=member.turn_id, version=member.version),))
    recorded = await trainer.request(RECORD_DATASET, record)
    assert (recorded.shared, recorded.everybody) == (False, True)
    await client.user("Bea")
    assert not (await trainer.request(RECORD_DATASET, record)).everybody
    asked = TrainingMaterial(unseen_by=("d1",))
    async with trainer.stream(TRAINING_MATERIAL, asked) as chunks:
        unseen = [exchange async for chunk in chunks for exchange in chunk.exchanges]
    assert [one.conversation_id for one in unseen] == ["since", "since"]


async def test_only_what_may_be_trained_on_is_counted(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    optimizer = await broker.connect(Principal.OPTIMIZER)
    user_id = await client.user()
    await talk(client, persistence, user_id, "allowed", "q", "a")
    later = await talk(client, persistence, user_id, "allowed", "q", "a", at=START + timedelta(days=1))
    disliked = await talk(client, persistence, user_id, "allowed", "q", "a")
    await talk(client, persistence, user_id, "not allowed".replace(" ", "-"), "q", "a")
    await allow(client, user_id, "allowed")
    await rate(client, user_id, disliked.turn_id, Thumb.DOWN)
    counted = await optimizer.request(COUNT_MATERIAL, CountMaterial(since=later.messages[0].at))
    assert (counted.exchanges, counted.since_then, counted.conversations) == (2, 1, 1)
    await optimizer.drain(1)
