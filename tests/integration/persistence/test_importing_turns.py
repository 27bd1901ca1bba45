"""Imported turns: all of a call or none, each once, in the order in which they were said, sealed one by one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select

from libs.shared.contracts.conversations import (
    DELETE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ConversationRead,
    ConversationRef,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.keeping import KEEP_NOTE, KeepNote
from libs.shared.contracts.memory import ImportedTurn
from libs.shared.contracts.recall import READ_MEMORIES, ReadMemories
from libs.shared.contracts.turns import READ_TURNS, ReadTurns
from libs.shared.errors import ConversationNotFound, InvalidRequest, UserNotFound
from services.persistence.derived_ids import derived_conversation_id
from services.persistence.repositories import accounts, memories
from services.persistence.sealing import UserKeys
from services.persistence.tables import ConversationRow, JobRow, MessageRow, TurnRow
from tests.support.persistence import START, Client, RunningPersistence, imported


async def count(persistence: RunningPersistence, table: type) -> int:
    async with persistence.parts.database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def keys_of(persistence: RunningPersistence, user_id: str) -> UserKeys:
    async with persistence.parts.database.transaction() as session:
        return await accounts.user_keys(session, persistence.parts.keys, user_id)


async def read(client: Client, user_id: str, name: str = "trip") -> ConversationRead:
    return await client.bus.request(READ_CONVERSATION, ReadConversation(user_id=user_id, conversation_id=name))


async def test_imported_turns_read_as_they_were_said(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(
        user_id, imported("1", "where to?"), imported("2", "Gaspé", speaker="User", minute=1)
    )
    assert [(item.source_id, item.speaker, item.text) for item in kept.items] == [
        ("1", "Zoé", "where to?"),
        ("2", "user", "Gaspé"),
    ]
    found = await read(client, user_id)
    assert [(m.speaker, m.text, m.source_id) for m in found.messages] == [
        ("Zoé", "where to?", "1"),
        ("user", "Gaspé", "2"),
    ]
    assert (found.conversation.title, found.conversation.messages) == ("trip", 2)
    assert (found.conversation.created_at, found.conversation.updated_at) == (START, START + timedelta(minutes=1))


async def test_an_imported_conversation_is_found_by_either_id_and_continued(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "where to?"))
    ours = kept.items[0].conversation_id
    assert (await read(client, user_id, ours)).conversation == (await read(client, user_id)).conversation
    _, position = await client.say(user_id, ours, "and when?", "in May")
    request = ReadTurns(user_id=user_id, conversation_id=ours, read_after=position)
    turns = await client.cognition.request(READ_TURNS, request)
    assert [message.text for message in turns.messages] == ["where to?", "and when?", "in May"]


async def test_the_same_id_is_imported_once(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    first = await client.import_turns(user_id, imported("1", "a"), imported("2", "b", minute=1))
    again = await client.import_turns(user_id, imported("2", "b", minute=1), imported("3", "c", minute=2))
    assert ([item.text for item in again.items], again.present) == (["c"], 1)
    assert (len(first.items), await count(persistence, MessageRow)) == (2, 3)
    assert [message.text for message in (await read(client, user_id)).messages] == ["a", "b", "c"]


async def check_imports_at_once_keep_each_once(client: Client, persistence: RunningPersistence) -> None:
    """For ten users one after the other: without what upholds it, some of them meet on the way."""
    for _ in range(10):
        await import_at_once(client, persistence)


async def test_two_imports_of_the_same_turns_at_once_keep_each_once(
    client: Client, persistence: RunningPersistence
) -> None:
    await import_at_once(client, persistence)
    assert (await count(persistence, MessageRow), await count(persistence, TurnRow)) == (50, 50)


async def import_at_once(client: Client, persistence: RunningPersistence) -> None:
    """The same turns four times at once, for a new user."""
    user_id = await client.user()
    turns = [imported(str(i), f"text {i}", minute=i) for i in range(50)]
    async with AsyncExitStack() as opened:  # connections, so that no import waits for one while another ends
        for _ in range(3):
            await opened.enter_async_context(persistence.parts.database.plainly())
    async with asyncio.timeout(20):
        kept = await asyncio.gather(*(client.import_turns(user_id, *turns) for _ in range(4)))
    assert (sum(len(one.items) for one in kept), sum(one.present for one in kept)) == (50, 150)


async def test_the_same_id_twice_in_a_call_counts_once(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "a"), imported("1", "a"))
    assert (len(kept.items), kept.present) == (1, 1)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (imported("1", "something else"), "turns.1.id"),
        (imported("2", "  \n"), "turns.1.text"),
        (imported("2", "x").model_copy(update={"at": datetime(2999, 1, 1, tzinfo=UTC)}), "turns.1.at"),
        (
            imported("2", "x").model_copy(update={"at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}),
            "turns.1.at",
        ),
    ],
    ids=["two-of-an-id", "no-words", "the-future", "before-the-calendar"],
)
async def test_a_faulty_turn_is_named_and_nothing_is_half_imported(
    client: Client, persistence: RunningPersistence, bad: ImportedTurn, field: str
) -> None:
    user_id = await client.user()
    with pytest.raises(InvalidRequest) as refused:
        await client.import_turns(user_id, imported("1", "good"), bad)
    assert refused.value.data["errors"] == [field]
    tables = (MessageRow, TurnRow, ConversationRow, JobRow)
    assert [await count(persistence, table) for table in tables] == [0, 0, 0, 0]


async def test_times_are_kept_as_moments(client: Client) -> None:
    user_id = await client.user()
    montreal = timezone(timedelta(hours=-5))
    turn = imported("1", "a").model_copy(update={"at": datetime(2025, 5, 1, 20, 0, tzinfo=montreal)})
    bare = imported("2", "b").model_copy(update={"at": datetime(2025, 5, 2)})
    await client.import_turns(user_id, turn, bare)
    moments = [message.at for message in (await read(client, user_id)).messages]
    assert moments == [datetime(2025, 5, 2, tzinfo=UTC), datetime(2025, 5, 2, 1, tzinfo=UTC)]


async def test_turns_that_come_late_take_their_place_in_the_conversation(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "first"), imported("3", "third", minute=2))
    await client.import_turns(user_id, imported("2", "second", minute=1), imported("0", "zeroth", minute=-1))
    await client.import_turns(user_id, imported("4", "fourth", minute=3))
    found = await read(client, user_id)
    assert [message.text for message in found.messages] == ["zeroth", "first", "second", "third", "fourth"]
    request = ReadTurns(user_id=user_id, conversation_id=kept.items[0].conversation_id)
    path = await client.cognition.request(READ_TURNS, request)
    assert [message.text for message in path.messages] == ["zeroth", "first", "second", "third", "fourth"]


async def test_every_turn_has_its_key_and_its_place_in_a_job(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, *(imported(str(i), f"t{i}", minute=i) for i in range(130)))
    async with persistence.parts.database.transaction() as session:
        slots = set(await session.scalars(select(MessageRow.slot)))
        payloads = list(await session.scalars(select(JobRow.payload)))
    assert len(slots) == 130
    assert slots <= persistence.parts.keys.slots.used
    assert sorted(len(payload["message_ids"]) for payload in payloads) == [2, 64, 64]
    assert len(kept.job_ids) == 3
    assert {i for payload in payloads for i in payload["message_ids"]} == {item.id for item in kept.items}
    assert len(persistence.parts.unused_keys) == 0


async def test_imported_texts_names_and_ids_stand_nowhere_readable(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    await client.import_turns(
        user_id, imported("id-canary", "text-canary", within="trip-canary", speaker="name-canary")
    )
    async with persistence.parts.database.transaction() as session:
        for table in TurnRow.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                assert "canary" not in repr(row)


async def test_what_was_forgotten_can_be_imported_again(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "a"))
    ours = kept.items[0].conversation_id
    await client.bus.request(DELETE_CONVERSATION, ConversationRef(user_id=user_id, conversation_id=ours))
    with pytest.raises(ConversationNotFound):
        await read(client, user_id)
    again = await client.import_turns(user_id, imported("1", "a"))
    assert len(again.items) == 1
    _, position = await client.say(user_id, ours, "more", "yes")
    request = ReadTurns(user_id=user_id, conversation_id=ours, read_after=position)
    turns = await client.cognition.request(READ_TURNS, request)
    assert [message.text for message in turns.messages] == ["a", "more", "yes"]


async def test_one_users_imports_are_not_anothers(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await client.import_turns(user_id, imported("1", "mine"))
    kept = await client.import_turns(other, imported("1", "theirs"))
    assert [item.text for item in kept.items] == ["theirs"]
    assert [message.text for message in (await read(client, other)).messages] == ["theirs"]
    mine = derived_conversation_id(await keys_of(persistence, user_id), "trip")
    assert mine != kept.items[0].conversation_id
    with pytest.raises(ConversationNotFound):
        await read(client, other, mine)
    with pytest.raises(UserNotFound):
        await client.import_turns("nobody", imported("1", "x"))


async def check_nobody_reads_anothers_memories(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await client.import_turns(user_id, imported("1", "mine"))
    async with persistence.parts.database.transaction() as session:
        ordinals = tuple(await session.scalars(select(MessageRow.ordinal)))
    mine = await client.cognition.request(READ_MEMORIES, ReadMemories(user_id=user_id, ordinals=ordinals))
    theirs = await client.cognition.request(READ_MEMORIES, ReadMemories(user_id=other, ordinals=ordinals))
    assert ([item.text for item in mine.items], theirs.ordinals, theirs.items) == (["mine"], (), ())
    async with persistence.parts.database.plainly() as driver:
        assert await memories.by_ordinal(driver, other, ordinals) == []


async def test_nobody_reads_anothers_memories(client: Client, persistence: RunningPersistence) -> None:
    await check_nobody_reads_anothers_memories(client, persistence)


async def test_texts_are_read_in_the_order_asked(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await client.import_turns(user_id, *(imported(str(i), f"t{i}", minute=i) for i in range(3)))
    async with persistence.parts.database.transaction() as session:
        ordinals = list(await session.scalars(select(MessageRow.ordinal).order_by(MessageRow.ordinal)))
    asked = (ordinals[2], 10**9, ordinals[0])
    found = await client.cognition.request(READ_MEMORIES, ReadMemories(user_id=user_id, ordinals=asked))
    assert found.ordinals == (ordinals[2], ordinals[0])
    assert [item.text for item in found.items] == ["t2", "t0"]


async def test_notes_are_kept_together_and_are_no_conversation(client: Client) -> None:
    user_id = await client.user()
    request = KeepNote(user_id=user_id, text="the key is under the pot", pinned=True, importance=0.9)
    kept = await client.cognition.request(KEEP_NOTE, request)
    with pytest.raises(InvalidRequest):
        await client.cognition.request(KEEP_NOTE, request.model_copy(update={"at": datetime(2999, 1, 1, tzinfo=UTC)}))
    second = await client.note(user_id, "the dog eats at six")
    assert (kept.items[0].pinned, kept.items[0].importance, len(kept.job_ids)) == (True, 0.9, 1)
    assert kept.items[0].conversation_id == second.conversation_id == kept.conversation_id
    listed = await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id))
    assert listed.conversations == ()
    with pytest.raises(ConversationNotFound):
        await read(client, user_id, second.conversation_id)
    with pytest.raises(ConversationNotFound):
        await client.open(user_id, second.conversation_id)
