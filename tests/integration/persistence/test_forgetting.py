"""Conversations and accounts: shown, renamed, and forgotten so that nothing of them is left."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, func, select, text

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.accounts import DELETE_USER, READ_USER, UserRef
from libs.shared.contracts.conversations import (
    DELETE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    RENAME_CONVERSATION,
    ConversationRef,
    Conversations,
    Forgotten,
    ListConversations,
    ReadConversation,
    RenameConversation,
)
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import ConversationNotFound, InvalidRequest, ServiceError, Unavailable, UserNotFound
from libs.shared.sealing import Unreadable, unseal
from services.persistence.forgetting import finish_promised
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.slot_file import KeyGone
from services.persistence.tables import Base, ForgettingRow, QuarantinedMessageRow, TombstoneRow
from tests.integration.persistence.test_finding_memories import EMBEDDER, direction, find, keep_and_index
from tests.support.persistence import START, Client, RunningPersistence, make_turn, new_id

_KEPT_ON_PURPOSE = {"tombstones"}


async def list_them(client: Client, user_id: str, limit: int = 50, cursor: str | None = None) -> Conversations:
    return await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id, limit=limit, cursor=cursor))


async def forget(client: Client, user_id: str, conversation_id: str) -> Forgotten:
    return await client.bus.request(
        DELETE_CONVERSATION, ConversationRef(user_id=user_id, conversation_id=conversation_id)
    )


async def tables_that_name(persistence: RunningPersistence, *ids: str) -> set[str]:
    """The tables with a row that holds one of ``ids`` anywhere."""
    found: set[str] = set()
    async with persistence.parts.database.transaction() as session:
        for table in Base.metadata.sorted_tables:
            rows = repr((await session.execute(select(table))).all())
            found |= {table.name for one in ids if one in rows}
    return found - _KEPT_ON_PURPOSE


async def sealed_values(persistence: RunningPersistence) -> list[bytes]:
    """Every binary value of every row."""
    found: list[bytes] = []
    async with persistence.parts.database.transaction() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, LargeBinary):
                    found += [value for value in await session.scalars(select(column)) if value]
    return found


def surviving_keys(persistence: RunningPersistence, user_id: str, key_slot: int) -> list[bytes]:
    """Every key that whoever holds the state folder can open on behalf of the user."""
    ring = persistence.parts.keys
    ring.drop_user(user_id)
    try:
        user = ring.open_user(user_id, key_slot)
    except (KeyGone, Unreadable):
        return []
    keys = [user.key]
    for slot in ring.slots.used:
        try:
            keys.append(ring.data_key(user, slot))
        except Unreadable:
            continue
    return keys


def opens(keys: list[bytes], sealed: bytes) -> bool:
    for key in keys:
        try:
            unseal(key, sealed)
        except Unreadable:
            continue
        return True
    return False


async def key_slot_of(persistence: RunningPersistence, user_id: str) -> int:
    async with persistence.parts.database.transaction() as session:
        return int((await session.scalars(text("SELECT key_slot FROM users WHERE user_id = :u"), {"u": user_id})).one())


# ---------------------------------------------------------------- showing


async def test_conversations_are_listed_by_last_use_page_by_page(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    for n in (2, 0, 3, 1):
        turn = await client.turn(user_id, f"c{n}", "q", "a", at=START + timedelta(hours=n))
        position = await client.publish(turn)
    await persistence.parts.watermark.wait_for(position)
    first = await list_them(client, user_id, limit=3)
    second = await list_them(client, user_id, limit=3, cursor=first.next_cursor)
    assert [c.conversation_id for c in first.conversations + second.conversations] == ["c3", "c2", "c1", "c0"]
    assert second.next_cursor is None
    assert (await list_them(client, await client.user())).conversations == ()


async def test_a_conversation_is_read_page_by_page(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    for n in range(3):
        _, position = await client.say(user_id, "c1", f"q{n}", f"a{n}")
    await persistence.parts.watermark.wait_for(position)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(2):
        request = ReadConversation(user_id=user_id, conversation_id="c1", limit=4, cursor=cursor)
        page = await client.bus.request(READ_CONVERSATION, request)
        seen += [message.text for message in page.messages]
        cursor = page.next_cursor
    assert seen == ["q0", "a0", "q1", "a1", "q2", "a2"]
    assert cursor is None
    with pytest.raises(InvalidRequest):
        await list_them(client, user_id, cursor="nonsense")


async def test_a_title_is_sealed_and_its_key_replaced(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    before = persistence.parts.keys.slots.used
    for title in ("canary-title", "second"):
        request = RenameConversation(user_id=user_id, conversation_id="c1", title=title)
        assert (await client.bus.request(RENAME_CONVERSATION, request)).title == title
        assert "canary-title" not in repr(await sealed_values(persistence))
    assert (await list_them(client, user_id)).conversations[0].title == "second"
    with pytest.raises(ConversationNotFound):
        await client.bus.request(
            RENAME_CONVERSATION, RenameConversation(user_id=other, conversation_id="c1", title="stolen")
        )
    assert len(persistence.parts.keys.slots.used - before) == 1


# ---------------------------------------------------------------- forgetting


async def check_a_forgotten_conversation_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    user_id = await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat", "she sleeps")
    kept = await keep_and_index(client, persistence, user_id, "stays", "bob is a cat", "the dog sleeps")
    await client.bus.request(
        RENAME_CONVERSATION, RenameConversation(user_id=user_id, conversation_id="gone", title="Ada")
    )
    sealed_before = await sealed_values(persistence)
    stream = broker.stream(TURN_COMPLETED).messages
    in_stream = [stored.sequence for stored in stream.values() if b'"gone"' in stored.body]
    key_slot = await key_slot_of(persistence, user_id)
    doomed = [value for value in sealed_before if opens(surviving_keys(persistence, user_id, key_slot), value)]
    assert len(doomed) == 5, "the canaries must be there to begin with"

    assert await forget(client, user_id, "gone") == Forgotten(messages=2, data_keys=3)

    assert await tables_that_name(persistence, "gone", *ids.values()) == set()
    left = set(await sealed_values(persistence))
    keys = surviving_keys(persistence, user_id, key_slot)
    assert [opens(keys, value) for value in doomed if value not in left] == [False] * 3
    assert not set(in_stream) & set(stream)
    assert set(await find(client, user_id, "cat sleeps ada", vector=direction("a"), embedder=EMBEDDER)) == set(kept)
    with pytest.raises(ConversationNotFound):
        await client.bus.request(READ_CONVERSATION, ReadConversation(user_id=user_id, conversation_id="gone"))


async def test_a_forgotten_conversation_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    await check_a_forgotten_conversation_leaves_nothing(client, persistence, broker)


async def test_forgetting_leaves_the_index_as_if_it_had_never_been(
    client: Client, persistence: RunningPersistence
) -> None:
    with_it, without_it = await client.user(), await client.user()
    await keep_and_index(client, persistence, with_it, "w1", "cat one", "a dog")
    await keep_and_index(client, persistence, with_it, "w2", "cat gone cat", "dog dog dog gone")
    await forget(client, with_it, "w2")
    await keep_and_index(client, persistence, with_it, "w3", "cat three")
    await keep_and_index(client, persistence, without_it, "o1", "cat one", "a dog")
    await keep_and_index(client, persistence, without_it, "o3", "cat three")
    found = [await find(client, user_id, "cat dog a gone") for user_id in (with_it, without_it)]
    assert {t: c.bm25 for t, c in found[0].items()} == {t: c.bm25 for t, c in found[1].items()}


async def test_only_the_owner_forgets(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    for who, what in ((other, "c1"), (user_id, "c2")):
        with pytest.raises(ConversationNotFound):
            await forget(client, who, what)
    assert len((await list_them(client, user_id)).conversations) == 1


async def check_a_late_turn_stays_forgotten(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    late = await client.turn(user_id, "c1", "late", "answer")
    await forget(client, user_id, "c1")
    await persistence.parts.watermark.wait_for(await client.publish(late))
    assert (await list_them(client, user_id)).conversations == ()
    assert late.messages[0].text.slot not in persistence.parts.keys.slots.used


async def test_a_late_turn_of_a_forgotten_conversation_is_not_kept_and_its_key_goes(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_a_late_turn_stays_forgotten(client, persistence)


async def test_a_forgotten_account_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker, tmp_path: Path
) -> None:
    user_id, other = await client.user("Zelda"), await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat")
    await keep_and_index(client, persistence, other, "stays", "bob is a cat")
    late = await client.turn(user_id, "gone", "late", "answer")
    key_slot = await key_slot_of(persistence, user_id)
    await client.bus.request(DELETE_USER, UserRef(name="zelda"))
    await persistence.parts.watermark.wait_for(await client.publish(late))
    assert await tables_that_name(persistence, user_id, "Zelda", "gone", *ids.values()) == set()
    assert surviving_keys(persistence, user_id, key_slot) == []
    assert not [s for s in broker.stream(TURN_COMPLETED).messages.values() if ids["ada is a cat"].encode() in s.body]
    for request in (UserRef(user_id=user_id), UserRef(name="Zelda")):
        with pytest.raises(UserNotFound):
            await client.bus.request(READ_USER, request)
    assert set(await find(client, other, "cat")) == {"bob is a cat"}


async def test_a_quarantined_turn_is_forgotten_too(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await client.say(user_id, "c1", "q", "a")
    key = await client.open(user_id)
    broken = make_turn(key.model_copy(update={"key": b"?" * 32}), user_id, "c1", "lost", "yes")
    await persistence.parts.watermark.wait_for(await client.publish(broken))
    await forget(client, user_id, "c1")
    async with persistence.parts.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(QuarantinedMessageRow)) == 0
    assert key.slot not in persistence.parts.keys.slots.used


# ---------------------------------------------------------------- cut short


@pytest.mark.parametrize("where", ["before anything is removed", "after the keys", "before the commit"])
async def test_a_forgetting_that_was_cut_short_is_finished_at_start(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    user_id = await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat")
    key_slot = await key_slot_of(persistence, user_id)

    async def crash(*_: object) -> None:
        raise Unavailable("killed here")

    with monkeypatch.context() as patched:
        if where == "before anything is removed":
            patched.setattr(forgetting_rows, "remove_conversation", crash)
        elif where == "after the keys":
            patched.setattr(forgetting_rows, "keep_promise", crash)
        else:
            patched.setattr(persistence.parts.keys.slots, "destroy", crash)
        with pytest.raises(ServiceError):
            await forget(client, user_id, "gone")
    await persistence.stop()
    await persistence.start()
    assert await tables_that_name(persistence, "gone", *ids.values()) == set()
    assert len(surviving_keys(persistence, user_id, key_slot)) == 1
    assert await finish_promised(persistence.parts) == 0


async def test_a_slot_of_an_unfinished_forgetting_is_not_given_to_another_turn(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "gone", "q", "a")
    await persistence.parts.watermark.wait_for(position)

    async def crash(*_: object) -> None:
        raise Unavailable("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(forgetting_rows, "keep_promise", crash)
        with pytest.raises(ServiceError):
            await forget(client, user_id, "gone")
    await persistence.stop()
    await persistence.open()
    slot = turn.messages[0].text.slot
    assert slot not in persistence.parts.keys.slots.used
    user = persistence.parts.keys.open_user(user_id, await key_slot_of(persistence, user_id))
    given = {(await persistence.parts.keys.new_data_key(user))[0] for _ in range(1100)}
    assert slot not in given
    assert await finish_promised(persistence.parts) == 1


async def test_turns_that_come_while_a_conversation_is_forgotten_leave_nothing(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    turns = [await client.turn(user_id, "c1", f"q{n}", f"a{n}") for n in range(20)]

    async def publish() -> None:
        for turn in turns:
            last = await client.publish(turn)
        await persistence.parts.watermark.wait_for(last)

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0)
    await forget(client, user_id, "c1")
    await publishing
    assert await tables_that_name(persistence, "'c1'") == set()
    slots = {turn.messages[0].text.slot for turn in turns}
    assert slots.isdisjoint(persistence.parts.keys.slots.used)


async def test_tombstones_and_promises(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user(new_id())
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    await forget(client, user_id, "c1")
    async with persistence.parts.database.transaction() as session:
        assert (await session.scalars(select(TombstoneRow.id))).all() == ["c1"]
        assert (await session.scalars(select(ForgettingRow))).all() == []


async def test_forgetting_twice_at_once_destroys_no_other_turns_key(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    found = await asyncio.gather(*(forget(client, user_id, "c1") for _ in range(4)), return_exceptions=True)
    assert sorted(f.data_keys for f in found if isinstance(f, Forgotten))[-1] == 1
    assert sum(f.data_keys for f in found if isinstance(f, Forgotten)) == 1
    assert all(isinstance(f, Forgotten | ConversationNotFound) for f in found)
