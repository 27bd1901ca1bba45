"""What a user changes: texts under new keys, pins, listings, and conversations that are no longer remembered."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ChangeConversation,
    Conversation,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.indexing import INDEX_MESSAGES, READ_UNINDEXED, IndexMessages, IndexRow, ReadUnindexed
from libs.shared.contracts.keeping import KEEP_NOTE, REWRITE_MEMORY, KeepNote, KeptMemories, RewriteMemory
from libs.shared.contracts.memory import (
    LIST_MEMORIES,
    MEMORY_CHANGED,
    READ_MEMORY,
    ListMemories,
    MemoryChanged,
    MemoryItem,
    MemoryKind,
    MemoryRef,
)
from libs.shared.contracts.recall import FIND_CANDIDATES, FindCandidates
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import ConversationNotFound, Internal, InvalidRequest, MemoryNotFound
from libs.shared.sealing import Unreadable
from services.persistence.repositories import accounts
from services.persistence.slot_file import KeyGone
from services.persistence.tables import ConversationRow, JobRow, MemberRow, MemoryStateRow, MessageRow, TurnRow
from tests.support.persistence import Client, RunningPersistence, imported


async def rewrite(client: Client, user_id: str, memory_id: str, **changes: object) -> KeptMemories:
    request = RewriteMemory.model_validate({"user_id": user_id, "id": memory_id, **changes})
    return await client.cognition.request(REWRITE_MEMORY, request)


async def change(client: Client, user_id: str, name: str, **changes: object) -> Conversation:
    request = ChangeConversation.model_validate({"user_id": user_id, "conversation_id": name, **changes})
    return await client.bus.request(CHANGE_CONVERSATION, request)


async def listed(client: Client, user_id: str, **filters: object) -> list[str]:
    request = ListMemories.model_validate({"user_id": user_id, **filters})
    return [item.text for item in (await client.bus.request(LIST_MEMORIES, request)).items]


async def read(client: Client, user_id: str, memory_id: str) -> MemoryItem:
    return await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=memory_id))


async def index(client: Client, user_id: str, *message_ids: str, term: str = "paris") -> None:
    rows = tuple(IndexRow(message_id=i, terms={term: 1}, words=3) for i in message_ids)
    await client.cognition.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=None, rows=rows))


async def found(client: Client, user_id: str, term: str = "paris") -> int:
    """How many memories have the term."""
    answer = await client.cognition.request(FIND_CANDIDATES, FindCandidates(user_id=user_id, terms=(term,)))
    return sum(score > 0 for score in answer.bm25)


async def unindexed(client: Client, user_id: str, *message_ids: str) -> list[str]:
    answer = await client.cognition.request(READ_UNINDEXED, ReadUnindexed(user_id=user_id, message_ids=message_ids))
    return [message.text for message in answer.messages]


async def rows_of(persistence: RunningPersistence) -> list[MessageRow]:
    async with persistence.parts.database.transaction() as session:
        return list(await session.scalars(select(MessageRow).order_by(MessageRow.ordinal)))


# ---------------------------------------------------------------- texts


async def check_an_edit_leaves_nothing_of_the_old_text(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "I live in Paris", "noted")
    await persistence.parts.watermark.wait_for(position)
    said, answer = (message.message_id for message in turn.messages)
    await index(client, user_id, said)
    before = (await rows_of(persistence))[0]
    assert await found(client, user_id) == 1
    kept = await rewrite(client, user_id, said, text="I live in Lyon")
    assert (kept.items[0].text, len(kept.job_ids)) == ("I live in Lyon", 1)
    assert (await read(client, user_id, said)).text == "I live in Lyon"
    assert (await read(client, user_id, answer)).text == "noted"
    assert await found(client, user_id) == 0
    assert await unindexed(client, user_id, said) == ["I live in Lyon"]
    async with persistence.parts.database.transaction() as session:
        user = await accounts.user_keys(session, persistence.parts.keys, user_id)
    for slot in persistence.parts.keys.slots.used | {before.slot}:
        with pytest.raises((KeyGone, Unreadable)):
            persistence.parts.keys.open_text(user, slot, before.text)
    await index(client, user_id, said, term="lyon")
    assert (await found(client, user_id, "lyon"), await found(client, user_id)) == (1, 0)


async def test_an_edit_leaves_nothing_of_the_old_text(client: Client, persistence: RunningPersistence) -> None:
    await check_an_edit_leaves_nothing_of_the_old_text(client, persistence)


async def check_what_was_read_before_an_edit_is_not_indexed_after_it(client: Client, _: RunningPersistence) -> None:
    user_id = await client.user()
    note = await client.note(user_id, "I live in Paris")
    request = ReadUnindexed(user_id=user_id, message_ids=(note.id,))
    (before,) = (await client.cognition.request(READ_UNINDEXED, request)).messages
    await rewrite(client, user_id, note.id, text="I live in Lyon")
    row = IndexRow(message_id=note.id, terms={"paris": 1}, words=3, version=before.version)
    late = IndexMessages(user_id=user_id, embedder=None, rows=(row,))
    assert (await client.cognition.request(INDEX_MESSAGES, late)).count == 0
    assert (await found(client, user_id), await unindexed(client, user_id, note.id)) == (0, ["I live in Lyon"])
    (after,) = (await client.cognition.request(READ_UNINDEXED, request)).messages
    row = IndexRow(message_id=note.id, terms={"lyon": 1}, words=3, version=after.version)
    await client.cognition.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=None, rows=(row,)))
    assert await found(client, user_id, "lyon") == 1


async def test_what_was_read_before_an_edit_is_not_indexed_after_it(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_what_was_read_before_an_edit_is_not_indexed_after_it(client, persistence)


async def test_what_was_kept_before_an_edit_is_not_indexed_after_it(client: Client) -> None:
    user_id = await client.user()
    note = (await client.cognition.request(KEEP_NOTE, KeepNote(user_id=user_id, text="I live in Paris"))).items[0]
    kept = await client.import_turns(user_id, imported("1", "a cat"), imported("2", "a dog", minute=1))
    edited = [await rewrite(client, user_id, item.id, text="I live in Lyon") for item in (note, *kept.items)]
    read = ReadUnindexed(user_id=user_id, message_ids=tuple(one.items[0].id for one in edited))
    now = {m.message_id: m.version for m in (await client.cognition.request(READ_UNINDEXED, read)).messages}
    assert {one.items[0].id: one.versions for one in edited} == {item: (version,) for item, version in now.items()}
    rows = tuple(
        IndexRow(message_id=item.id, terms={"paris": 1}, version=version)
        for item, version in zip(kept.items, kept.versions, strict=True)
    )
    late = IndexMessages(user_id=user_id, embedder=None, rows=rows)
    assert (await client.cognition.request(INDEX_MESSAGES, late)).count == 0
    assert (await rewrite(client, user_id, note.id, pinned=True)).versions == ()


async def test_a_note_and_an_import_come_with_the_versions_that_are_read_to_index_them(client: Client) -> None:
    user_id = await client.user()
    noted = await client.cognition.request(KEEP_NOTE, KeepNote(user_id=user_id, text="I live in Paris"))
    brought = await client.import_turns(user_id, imported("1", "a cat"), imported("2", "a dog", minute=1))
    for kept in (noted, brought):
        read = ReadUnindexed(user_id=user_id, message_ids=tuple(item.id for item in kept.items))
        found = (await client.cognition.request(READ_UNINDEXED, read)).messages
        assert tuple(message.version for message in found) == kept.versions


async def test_the_edited_turn_leaves_the_stream_at_the_next_housekeeping(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "I live in Paris", "noted")
    await persistence.parts.watermark.wait_for(position)
    await rewrite(client, user_id, turn.messages[0].message_id, text="I live in Lyon")
    async with persistence.parts.database.transaction() as session:
        due = await session.scalar(text("SELECT erase_after <= now() FROM applied_positions"))
    assert due
    again = await client.cognition.publish(TURN_COMPLETED, turn, message_id="again")
    await persistence.parts.watermark.wait_for(again)
    assert (await read(client, user_id, turn.messages[0].message_id)).text == "I live in Lyon"


async def test_an_edited_import_keeps_its_names_and_is_imported_no_second_time(client: Client) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "I live in Paris"))
    await rewrite(client, user_id, kept.items[0].id, text="I live in Lyon")
    item = await read(client, user_id, kept.items[0].id)
    assert (item.text, item.speaker, item.source_id) == ("I live in Lyon", "Zoé", "1")
    assert (await client.import_turns(user_id, imported("1", "I live in Paris"))).present == 1


async def test_a_note_is_edited_and_empty_words_are_refused(client: Client) -> None:
    user_id = await client.user()
    note = await client.note(user_id, "the key is under the pot")
    await rewrite(client, user_id, note.id, text="the key is with Ada")
    assert (await read(client, user_id, note.id)).text == "the key is with Ada"
    with pytest.raises(InvalidRequest):
        await rewrite(client, user_id, note.id, text=" ")


async def test_nobody_reads_or_edits_anothers(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    note = await client.note(user_id, "mine")
    with pytest.raises(MemoryNotFound):
        await read(client, other, note.id)
    with pytest.raises(MemoryNotFound):
        await rewrite(client, other, note.id, text="theirs")
    with pytest.raises(MemoryNotFound):
        await rewrite(client, other, note.id, pinned=True)
    assert await listed(client, other) == []


async def test_a_crash_before_the_keys_went_leaves_every_text_readable_and_the_keys_go_at_start(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "I live in Paris", "noted")
    await persistence.parts.watermark.wait_for(position)
    old = (await rows_of(persistence))[0].slot

    async def crash(*_: object) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(type(persistence.parts.keys.slots), "destroy", crash)
        with pytest.raises(Internal):
            await rewrite(client, user_id, turn.messages[0].message_id, text="I live in Lyon")
    await persistence.stop()
    await persistence.start()
    assert [await read(client, user_id, m.message_id) for m in turn.messages]
    assert old not in persistence.parts.keys.slots.used


# ---------------------------------------------------------------- pins and uses


async def test_pins_and_importance_are_kept_and_one_leaves_the_other(client: Client) -> None:
    user_id = await client.user()
    note = await client.note(user_id, "the key is under the pot")
    await rewrite(client, user_id, note.id, pinned=True)
    kept = await rewrite(client, user_id, note.id, importance=0.8)
    assert (kept.items[0].pinned, kept.items[0].importance, kept.job_ids) == (True, 0.8, ())
    await rewrite(client, user_id, note.id, pinned=False)
    item = await read(client, user_id, note.id)
    assert (item.pinned, item.importance) == (False, 0.8)


async def check_a_turn_counts_what_it_recalled(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    note, theirs = await client.note(user_id, "mine"), await client.note(other, "theirs")
    for _ in range(2):
        turn = await client.turn(user_id, "c1", "where is the key?", "under the pot")
        recalled = (note.id, note.id, theirs.id, "nothing")
        position = await client.publish(turn.model_copy(update={"recalled": recalled}))
        again = await client.cognition.publish(TURN_COMPLETED, turn, message_id=f"again-{turn.turn_id}")
    await persistence.parts.watermark.wait_for(position)
    await persistence.parts.watermark.wait_for(again)
    async with persistence.parts.database.transaction() as session:
        used = [(row.message_id, row.uses, row.used_at) for row in await session.scalars(select(MemoryStateRow))]
        mentions = list(await session.scalars(select(TurnRow.recalled).where(TurnRow.conversation_id == "c1")))
    assert used == [(note.id, 2, turn.at)]
    assert mentions == [[note.id], [note.id]]


async def test_a_turn_counts_what_it_recalled_once_and_of_its_user_alone(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_a_turn_counts_what_it_recalled(client, persistence)


# ---------------------------------------------------------------- listing


async def test_memories_are_listed_newest_first_by_pages(client: Client) -> None:
    user_id = await client.user()
    await client.import_turns(user_id, *(imported(str(i), f"t{i}", minute=i // 2) for i in range(7)))
    texts: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = await client.bus.request(LIST_MEMORIES, ListMemories(user_id=user_id, limit=2, cursor=cursor))
        texts += [item.text for item in page.items]
        cursor = page.next_cursor
    assert (texts, cursor) == ([f"t{i}" for i in reversed(range(7))], None)


async def test_listings_are_filtered_by_kind_and_pin(client: Client) -> None:
    user_id = await client.user()
    await client.import_turns(user_id, imported("1", "said"))
    note = await client.note(user_id, "noted")
    assert await listed(client, user_id) == ["noted", "said"]
    assert await listed(client, user_id, kind=MemoryKind.NOTE) == ["noted"]
    assert await listed(client, user_id, kind=MemoryKind.MESSAGE) == ["said"]
    assert await listed(client, user_id, kind=MemoryKind.PASSAGE) == []
    await rewrite(client, user_id, note.id, pinned=True)
    assert await listed(client, user_id, pinned=True) == ["noted"]
    assert await listed(client, user_id, pinned=False) == ["said"]
    with pytest.raises(InvalidRequest):
        await listed(client, user_id, cursor="nonsense")


# ---------------------------------------------------------------- conversations


async def test_a_title_is_replaced_and_the_key_of_the_old_one_destroyed(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    await client.import_turns(user_id, imported("1", "a"))
    async with persistence.parts.database.transaction() as session:
        old = (await session.scalars(select(ConversationRow.title_slot))).one()
    assert (await change(client, user_id, "trip", title="Gaspésie")).title == "Gaspésie"
    assert old not in persistence.parts.keys.slots.used
    listing = await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id))
    assert [(c.title, c.remembered) for c in listing.conversations] == [("Gaspésie", True)]
    with pytest.raises(ConversationNotFound):
        await change(client, await client.user(), listing.conversations[0].conversation_id, title="theirs")


async def check_what_is_no_longer_remembered_is_not_found(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "I live in Paris", "noted")
    await persistence.parts.watermark.wait_for(position)
    said = turn.messages[0].message_id
    await index(client, user_id, said)
    assert not (await change(client, user_id, "c1", remembered=False)).remembered
    assert await found(client, user_id) == 0
    assert await unindexed(client, user_id, said) == []
    async with persistence.parts.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(MemberRow)) == 0
    reading = ReadConversation(user_id=user_id, conversation_id="c1")
    assert len((await client.bus.request(READ_CONVERSATION, reading)).messages) == 2
    _, position = await client.say(user_id, "c1", "and more", "yes")
    await persistence.parts.watermark.wait_for(position)
    async with persistence.parts.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(JobRow)) == 0


async def test_what_is_no_longer_remembered_is_not_found_and_nothing_new_is_indexed(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_what_is_no_longer_remembered_is_not_found(client, persistence)


async def test_what_is_remembered_again_is_indexed_again(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("1", "I live in Paris"))
    await change(client, user_id, "trip", remembered=False)
    assert (await change(client, user_id, "trip", remembered=True)).remembered
    async with persistence.parts.database.transaction() as session:
        (payload,) = await session.scalars(select(JobRow.payload))
    assert payload["message_ids"] == [kept.items[0].id]
    assert await unindexed(client, user_id, kept.items[0].id) == ["I live in Paris"]


async def test_a_conversation_begun_without_memory_makes_no_jobs(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    turn = (await client.turn(user_id, "c1", "secret", "yes")).model_copy(update={"remembered": False})
    await persistence.parts.watermark.wait_for(await client.publish(turn))
    later, position = await client.say(user_id, "c1", "more", "yes")
    await persistence.parts.watermark.wait_for(position)
    assert later.remembered
    async with persistence.parts.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(JobRow)) == 0


async def test_every_change_is_announced(client: Client, broker: MemoryBroker) -> None:
    heard: list[str] = []

    async def hear(changed: MemoryChanged) -> None:
        heard.append(changed.user_id)

    listener = await broker.connect(Principal.COGNITION)
    await listener.subscribe(MEMORY_CHANGED, hear)
    user_id = await client.user()
    await client.import_turns(user_id, imported("1", "a"))
    note = await client.note(user_id, "b")
    await rewrite(client, user_id, note.id, text="c")
    await change(client, user_id, "trip", title="Gaspésie")
    assert heard == [user_id] * 4
    await listener.drain(1)
