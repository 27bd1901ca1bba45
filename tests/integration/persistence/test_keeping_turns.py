"""Turns from the stream: kept once, in order, readable by those who wait for them, and never in the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, text

from libs.shared.bus.base import Delivery, Poison
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.common import Position
from libs.shared.contracts.conversations import READ_CONVERSATION, ReadConversation
from libs.shared.contracts.jobs import LIST_JOBS, JobState, ListJobs
from libs.shared.contracts.turns import READ_TURNS, TURN_COMPLETED, OpenTurn, ReadTurns, TurnCompleted
from libs.shared.errors import ConversationNotFound, MessageNotFound, NotYetApplied, UserNotFound
from services.persistence import housekeeping
from services.persistence.handlers import turns as turn_handlers
from services.persistence.tables import (
    AppliedPositionRow,
    ConversationRow,
    MessageRow,
    QuarantinedMessageRow,
    TurnRow,
    WatermarkRow,
)
from tests.support.persistence import Client, RunningPersistence, make_turn


async def texts(
    client: Client, user_id: str, conversation_id: str, after: Position | None = None, leaf: str | None = None
) -> list[str]:
    request = ReadTurns(user_id=user_id, conversation_id=conversation_id, read_after=after, parent_id=leaf)
    return [message.text for message in (await client.cognition.request(READ_TURNS, request)).messages]


async def rows(persistence: RunningPersistence, table: type) -> int:
    async with persistence.parts.database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def quarantined(persistence: RunningPersistence) -> list[str]:
    async with persistence.parts.database.transaction() as session:
        return list(await session.scalars(select(QuarantinedMessageRow.reason)))


async def deliver(persistence: RunningPersistence, turn: TurnCompleted, sequence: int, attempt: int = 1) -> None:
    position = Position(epoch=persistence.parts.watermark.epoch, sequence=sequence)
    await persistence.parts.applier.handle(Delivery(turn, turn.turn_id, position, attempt, attempt >= 8))


async def test_a_kept_turn_is_readable_by_who_waits_for_it(client: Client) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "my cat is called Ada", "noted")
    assert await texts(client, user_id, "c1", position) == ["my cat is called Ada", "noted"]


async def test_turns_of_a_conversation_follow_each_other(client: Client) -> None:
    user_id = await client.user()
    for i in range(3):
        _, position = await client.say(user_id, "c1", f"question {i}", f"answer {i}")
    expected = [f"{what} {i}" for i in range(3) for what in ("question", "answer")]
    assert await texts(client, user_id, "c1", position) == expected


async def test_a_redelivered_turn_is_kept_once(persistence: RunningPersistence, client: Client) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "once", "yes")
    await texts(client, user_id, "c1", position)
    await deliver(persistence, turn, position.sequence, attempt=2)
    assert await texts(client, user_id, "c1") == ["once", "yes"]
    assert (await rows(persistence, TurnRow), await quarantined(persistence)) == (1, [])


async def test_a_turn_published_twice_is_kept_once_and_passed(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "once", "yes")
    await client.cognition.publish(TURN_COMPLETED, turn, message_id="first")
    position = await client.cognition.publish(TURN_COMPLETED, turn, message_id="second")
    assert await texts(client, user_id, "c1", position) == ["once", "yes"]
    assert await rows(persistence, MessageRow) == 2


async def test_an_older_parent_makes_a_branch_and_both_are_kept(client: Client) -> None:
    user_id = await client.user()
    first, _ = await client.say(user_id, "c1", "root", "one")
    second, _ = await client.say(user_id, "c1", "then", "two")
    branch = await client.turn(user_id, "c1", "instead", "three", parent_id=first.messages[-1].message_id)
    position = await client.publish(branch)
    assert await texts(client, user_id, "c1", position) == ["root", "one", "instead", "three"]
    leaf = second.messages[-1].message_id
    assert await texts(client, user_id, "c1", leaf=leaf) == ["root", "one", "then", "two"]
    read = await client.bus.request(READ_CONVERSATION, ReadConversation(user_id=user_id, conversation_id="c1"))
    assert [message.text for message in read.messages] == ["root", "one", "then", "two", "instead", "three"]
    assert read.conversation.messages == 6


async def test_only_the_newest_messages_of_the_path_are_read(client: Client) -> None:
    user_id = await client.user()
    for i in range(4):
        _, position = await client.say(user_id, "c1", f"q{i}", f"a{i}")
    request = ReadTurns(user_id=user_id, conversation_id="c1", max_messages=3, read_after=position)
    found = await client.cognition.request(READ_TURNS, request)
    assert [message.text for message in found.messages] == ["a2", "q3", "a3"]


async def test_a_partial_answer_is_marked(client: Client) -> None:
    user_id = await client.user()
    turn = (await client.turn(user_id, "c1", "long?", "it broke o")).model_copy(update={"partial": True})
    position = await client.publish(turn)
    request = ReadTurns(user_id=user_id, conversation_id="c1", read_after=position)
    found = await client.cognition.request(READ_TURNS, request)
    assert [message.partial for message in found.messages] == [False, True]


async def test_nobody_reads_or_continues_anothers_conversation(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    _, position = await client.say(user_id, "c1", "private", "yes")
    with pytest.raises(ConversationNotFound):
        await texts(client, other, "c1", position)
    with pytest.raises(ConversationNotFound):
        await client.open(other, "c1")
    with pytest.raises(UserNotFound):
        await client.open("nobody")
    await client.open(user_id, "c1")


async def test_a_message_of_another_conversation_is_no_leaf(client: Client) -> None:
    user_id = await client.user()
    turn, _ = await client.say(user_id, "c1", "here", "yes")
    _, position = await client.say(user_id, "c2", "there", "yes")
    with pytest.raises(MessageNotFound):
        await texts(client, user_id, "c2", position, leaf=turn.messages[0].message_id)


async def test_the_second_turn_opens_while_the_first_is_on_its_way(
    persistence: RunningPersistence, client: Client
) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "first", "yes")
    async with persistence.parts.applier.lock:
        position = await client.publish(turn)
        request = OpenTurn(user_id=user_id, turn_id="second", conversation_id="c1", read_after=position)
        opening = asyncio.create_task(turn_handlers.open_turn(request, persistence.parts))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await opening).key


async def test_a_position_that_does_not_come_is_refused(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "a", "b")
    await texts(client, user_id, "c1", position)
    with pytest.raises(NotYetApplied):
        await persistence.parts.watermark.wait_for(Position(epoch=position.epoch, sequence=99), timeout_s=0.05)


# ---------------------------------------------------------------- what can't be applied


async def test_a_turn_under_a_wrong_key_is_set_aside_and_the_next_is_kept(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    key = await client.open(user_id)
    await client.publish(make_turn(key.model_copy(update={"key": b"?" * 32}), user_id, "c1", "lost", "yes"))
    _, position = await client.say(user_id, "c1", "kept", "yes")
    assert await texts(client, user_id, "c1", position) == ["kept", "yes"]
    assert await quarantined(persistence) == ["unreadable"]


async def test_a_turn_into_anothers_conversation_is_set_aside(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await client.say(user_id, "c1", "mine", "yes")
    _, position = await client.say(other, "c1", "intruder", "no")
    assert await texts(client, user_id, "c1", position) == ["mine", "yes"]
    assert await quarantined(persistence) == ["foreign_conversation"]


async def test_a_turn_of_an_unknown_user_is_set_aside(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn = (await client.turn(user_id, "c1", "who", "?")).model_copy(update={"user_id": "nobody"})
    position = await client.publish(turn)
    await persistence.parts.watermark.wait_for(position)
    assert await quarantined(persistence) == ["unknown_user"]


async def test_values_that_the_database_refuses_are_set_aside_whole(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    first, _ = await client.say(user_id, "c1", "kept", "yes")
    turn = await client.turn(user_id, "c2", "new", "again")
    doubled = turn.messages[1].model_copy(update={"message_id": first.messages[0].message_id})
    position = await client.publish(turn.model_copy(update={"messages": (turn.messages[0], doubled)}))
    assert await texts(client, user_id, "c1", position) == ["kept", "yes"]
    assert await quarantined(persistence) == ["refused"]
    assert await rows(persistence, ConversationRow) == 1


@pytest.mark.parametrize("bad", [{"prompt_tokens": 2**40}, {"model": "a\0b"}])
async def test_a_number_or_text_beyond_the_database_is_set_aside(
    client: Client, persistence: RunningPersistence, bad: dict[str, object]
) -> None:
    user_id = await client.user()
    await client.publish((await client.turn(user_id, "c1", "odd", "yes")).model_copy(update=bad))
    _, position = await client.say(user_id, "c1", "kept", "yes")
    assert await texts(client, user_id, "c1", position) == ["kept", "yes"]
    assert await quarantined(persistence) == ["refused"]


async def test_two_turns_cannot_share_a_key(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    key = await client.open(user_id)
    await client.publish(make_turn(key, user_id, "c1", "one", "yes"))
    position = await client.publish(make_turn(key, user_id, "c2", "two", "yes"))
    await persistence.parts.watermark.wait_for(position)
    assert await quarantined(persistence) == ["refused"]


async def test_a_body_that_is_no_turn_is_set_aside(persistence: RunningPersistence) -> None:
    position = Position(epoch="e", sequence=9)
    await persistence.parts.applier.poison(Poison(b"\xff{", "strange", position))
    assert await quarantined(persistence) == ["not_understood"]
    assert persistence.parts.watermark.has_reached(position)


async def test_a_turn_that_fails_at_every_attempt_is_set_aside_at_the_last(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "unlucky", "yes")

    def fail(*_: object) -> bool:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(type(persistence.parts.applier), "_read", fail)
    with pytest.raises(RuntimeError):
        await deliver(persistence, turn, 1, attempt=1)
    await deliver(persistence, turn, 1, attempt=8)
    assert await quarantined(persistence) == ["failed"]


# ---------------------------------------------------------------- watermark and stream


async def test_the_watermark_passes_messages_that_were_deleted_at_the_end(persistence: RunningPersistence) -> None:
    epoch = persistence.parts.watermark.epoch
    await persistence.parts.applier.caught_up(Position(epoch=epoch, sequence=7))
    await persistence.parts.watermark.wait_for(Position(epoch=epoch, sequence=7))
    async with persistence.parts.database.transaction() as session:
        assert (await session.scalars(select(WatermarkRow.sequence))).one() == 7


async def test_a_new_life_of_the_stream_begins_a_new_count(persistence: RunningPersistence) -> None:
    applier = persistence.parts.applier
    await applier.caught_up(Position(epoch="one", sequence=50))
    await applier.caught_up(Position(epoch="two", sequence=3))
    async with persistence.parts.database.transaction() as session:
        row = (await session.scalars(select(WatermarkRow))).one()
    assert (row.epoch, row.sequence) == ("two", 3)


async def test_the_watermark_survives_a_restart(persistence: RunningPersistence, client: Client) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "before", "yes")
    await texts(client, user_id, "c1", position)
    await persistence.stop()
    await persistence.start()
    assert persistence.parts.watermark.has_reached(position)
    assert await texts(client, user_id, "c1", position) == ["before", "yes"]


async def test_turns_published_while_persistence_is_down_are_kept_afterwards(
    persistence: RunningPersistence, client: Client
) -> None:
    user_id = await client.user()
    turns = [await client.turn(user_id, "c1", f"q{i}", f"a{i}") for i in range(5)]
    await persistence.stop()
    positions = [await client.publish(turn) for turn in turns]
    await persistence.start()
    assert len(await texts(client, user_id, "c1", positions[-1])) == 10


async def test_applied_turns_leave_the_stream_once_they_are_due(
    persistence: RunningPersistence, client: Client, broker: MemoryBroker
) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await texts(client, user_id, "c1", position)
    stored = broker.stream(TURN_COMPLETED).messages
    assert await housekeeping.erase_applied(persistence.parts) == 0
    assert position.sequence in stored
    async with persistence.parts.database.transaction() as session:
        await session.execute(text("UPDATE applied_positions SET erase_after = now() - interval '1 second'"))
    assert await housekeeping.erase_applied(persistence.parts) == 1
    assert position.sequence not in stored
    assert await rows(persistence, AppliedPositionRow) == 0


async def test_a_key_whose_turn_never_came_is_taken_back_and_a_used_one_is_not(
    persistence: RunningPersistence, client: Client
) -> None:
    user_id = await client.user()
    lost = await client.open(user_id)
    _, position = await client.say(user_id, "c1", "kept", "yes")
    await texts(client, user_id, "c1", position)
    await persistence.parts.applier.caught_up(position)
    assert await housekeeping.take_back_unused(persistence.parts, grace_s=3600) == 0
    assert await housekeeping.take_back_unused(persistence.parts, grace_s=-1) == 1
    assert lost.slot not in persistence.parts.keys.slots.used
    assert await texts(client, user_id, "c1") == ["kept", "yes"]


async def test_no_key_is_taken_back_while_turns_wait(persistence: RunningPersistence, client: Client) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "slow", "yes")
    persistence.parts.watermark.caught_up = False
    assert await housekeeping.take_back_unused(persistence.parts, grace_s=-1) == 0
    assert await texts(client, user_id, "c1", await client.publish(turn)) == ["slow", "yes"]


async def test_unused_keys_are_known_again_after_a_restart(persistence: RunningPersistence, client: Client) -> None:
    user_id = await client.user()
    await client.open(user_id)
    await persistence.stop()
    await persistence.start()
    await persistence.parts.applier.caught_up(Position(epoch=persistence.parts.watermark.epoch, sequence=0))
    assert len(persistence.parts.unused_keys) == 1
    assert await housekeeping.take_back_unused(persistence.parts, grace_s=-1) == 1


async def test_each_kept_turn_has_its_indexing_job(client: Client) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await texts(client, user_id, "c1", position)
    jobs = (await client.bus.request(LIST_JOBS, ListJobs(state=JobState.QUEUED))).jobs
    assert [job.kind for job in jobs] == ["index_messages"]
    assert jobs[0].queued_at <= datetime.now(UTC)


async def test_texts_stand_nowhere_readable_in_the_database(persistence: RunningPersistence, client: Client) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "canary-7f3a", "canary-7f3a")
    await texts(client, user_id, "c1", position)
    async with persistence.parts.database.transaction() as session:
        for table in TurnRow.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                assert "canary-7f3a" not in repr(row)


async def test_a_reader_sees_the_turn_that_is_still_being_applied(
    persistence: RunningPersistence, client: Client
) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "just said", "yes")
    _, first = await client.say(user_id, "c1", "before", "yes")
    await persistence.parts.watermark.wait_for(first)
    async with persistence.parts.applier.lock:
        position = await client.publish(turn)
        reading = asyncio.create_task(texts(client, user_id, "c1", position))
        await asyncio.wait((reading,), timeout=0.1)
    assert await reading == ["before", "yes", "just said", "yes"]
