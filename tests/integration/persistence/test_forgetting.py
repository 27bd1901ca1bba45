"""Forgetting a memory, a fact, a conversation, a document, everything, an account: nothing of it is left, nothing else
is lost, and a receipt tells what went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import LargeBinary, func, select, text

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.accounts import DELETE_USER, READ_USER, UserRef
from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    DELETE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ChangeConversation,
    ConversationRef,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.documents import FORGET_DOCUMENT, DocumentRef
from libs.shared.contracts.forgetting import LIST_RECEIPTS, ListReceipts, Receipt, Receipts
from libs.shared.contracts.memory import FORGET_EVERYTHING, FORGET_MEMORY, READ_MEMORY, MemoryRef, UserMemory
from libs.shared.contracts.turns import READ_TURNS, TURN_COMPLETED, ReadTurns
from libs.shared.errors import (
    ConversationNotFound,
    DocumentNotFound,
    MemoryNotFound,
    ServiceError,
    Unavailable,
    UserNotFound,
)
from libs.shared.receipts import verify
from libs.shared.sealing import Unreadable, unseal
from services.persistence import forgetting, housekeeping
from services.persistence.forgetting import finish_promised
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import removal
from services.persistence.retiring import destroy_retired, retire
from services.persistence.slot_file import KeyGone, SlotFile
from services.persistence.tables import (
    Base,
    ConversationRow,
    FactRow,
    ForgettingRow,
    JobRow,
    MessageRow,
    OutboxRow,
    QuarantinedMessageRow,
    SegmentRow,
    TombstoneRow,
    TurnRow,
)
from tests.support import remembering
from tests.support.persistence import START, Client, RunningPersistence, make_turn
from tests.support.remembering import Entry, find, say

_KEPT_ON_PURPOSE = {"tombstones", "receipts"}


async def forget_conversation(client: Client, user_id: str, conversation_id: str) -> Receipt:
    ref = ConversationRef(user_id=user_id, conversation_id=conversation_id)
    return await client.bus.request(DELETE_CONVERSATION, ref)


async def forget_memory(client: Client, user_id: str, memory_id: str) -> Receipt:
    return await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=memory_id))


async def forget_document(client: Client, user_id: str, document_id: str) -> Receipt:
    return await client.bus.request(FORGET_DOCUMENT, DocumentRef(user_id=user_id, document_id=document_id))


async def forget_everything(client: Client, user_id: str, _: str = "") -> Receipt:
    return await client.bus.request(FORGET_EVERYTHING, UserMemory(user_id=user_id))


async def forget_account(client: Client, user_id: str, _: str = "") -> Receipt:
    return await client.bus.request(DELETE_USER, UserRef(user_id=user_id))


async def keep_and_index(
    client: Client, persistence: RunningPersistence, user_id: str, where: str, *texts: str
) -> dict[str, str]:
    """Text → message."""
    ids = dict(zip(texts, await say(client, persistence, user_id, where, *texts), strict=True))
    await remembering.index(client, user_id, [Entry(message_id, told) for told, message_id in ids.items()])
    return ids


async def conversation_texts(client: Client, user_id: str, where: str) -> list[str]:
    """The way to the newest message."""
    request = ReadTurns(user_id=user_id, conversation_id=where)
    return [message.text for message in (await client.cognition.request(READ_TURNS, request)).messages]


async def tables_that_name(persistence: RunningPersistence, *ids: str) -> set[str]:
    """The tables with a row that holds one of ``ids`` anywhere."""
    found: set[str] = set()
    async with persistence.parts.database.transaction() as session:
        for table in Base.metadata.sorted_tables:
            rows = repr((await session.execute(select(table))).all())
            found |= {table.name for one in ids if one in rows}
    return found - _KEPT_ON_PURPOSE


async def sealed_values(persistence: RunningPersistence) -> list[bytes]:
    """Every sealed value of every row."""
    found: list[bytes] = []
    async with persistence.parts.database.transaction() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, LargeBinary) and column.name not in ("source_hash", "said_hash"):
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


async def check_every_row_opens(persistence: RunningPersistence, user_id: str) -> None:
    """No key was destroyed that a row needs: each opens in its own slot."""
    sealed = (
        select(MessageRow.slot, MessageRow.text),
        select(MessageRow.slot, MessageRow.about),
        select(FactRow.slot, FactRow.fact),
        select(ConversationRow.title_slot, ConversationRow.title),
        select(SegmentRow.slot, SegmentRow.content),
    )
    ring = persistence.parts.keys
    user = ring.open_user(user_id, await key_slot_of(persistence, user_id))
    async with persistence.parts.database.transaction() as session:
        for statement in sealed:
            for slot, value in await session.execute(statement):
                if slot is not None and value is not None:
                    unseal(ring.data_key(user, slot), value)
        slots = set(await session.scalars(select(MessageRow.slot)))
        assert slots == set(await session.scalars(select(TurnRow.slot)))


# ---------------------------------------------------------------- whole conversations


async def check_a_forgotten_conversation_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    user_id = await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat", "she sleeps")
    kept = await keep_and_index(client, persistence, user_id, "stays", "bob is a cat", "the dog sleeps")
    titled = ChangeConversation(user_id=user_id, conversation_id="gone", title="Ada")
    await client.bus.request(CHANGE_CONVERSATION, titled)
    drawn = remembering.fact([ids["ada is a cat"]], "Paris")
    await remembering.facts(client, user_id, drawn)
    sealed_before = await sealed_values(persistence)
    stream = broker.stream(TURN_COMPLETED).messages
    in_stream = [stored.sequence for stored in stream.values() if b'"gone"' in stored.body]
    key_slot = await key_slot_of(persistence, user_id)
    assert all(opens(surviving_keys(persistence, user_id, key_slot), value) for value in sealed_before)

    receipt = await forget_conversation(client, user_id, "gone")

    assert verify(receipt)
    assert receipt.removed.model_dump(exclude={"index_segments"}) == {
        **{"messages": 2, "conversations": 1, "facts": 1, "terms": 2, "vectors": 0},
        **{"data_keys": 4, "jobs": 1, "stream_messages": 1, "quarantined": 0},
    }
    assert await tables_that_name(persistence, "gone", drawn.id, *ids.values()) == set()
    left = set(await sealed_values(persistence))
    keys = surviving_keys(persistence, user_id, key_slot)
    went = [value for value in sealed_before if value not in left]
    assert len(went) == 5, "two messages, a title, a fact, a segment"
    assert not any(opens(keys, value) for value in went)
    assert not set(in_stream) & set(stream)
    assert set(await find(client, user_id, "cat sleeps ada")) == set(kept)
    await check_every_row_opens(persistence, user_id)
    with pytest.raises(ConversationNotFound):
        await client.bus.request(READ_CONVERSATION, ReadConversation(user_id=user_id, conversation_id="gone"))


async def test_a_forgotten_conversation_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    await check_a_forgotten_conversation_leaves_nothing(client, persistence, broker)


async def check_only_the_owner_forgets(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    said = await say(client, persistence, user_id, "c1", "q", "a")
    drawn = remembering.fact(said[:1], "Paris")
    await remembering.facts(client, user_id, drawn)
    (passage,) = await remembering.document(client, user_id, "file", "text")
    for memory_id in (said[0], drawn.id, passage.id, "nothing"):
        with pytest.raises(MemoryNotFound):
            await forget_memory(client, other, memory_id)
    for who, what in ((other, "c1"), (user_id, "c2")):
        with pytest.raises(ConversationNotFound):
            await forget_conversation(client, who, what)
    for who, what in ((other, passage.conversation_id), (user_id, "c1")):
        with pytest.raises(DocumentNotFound):
            await forget_document(client, who, what)
    assert await conversation_texts(client, user_id, "c1") == ["q", "a"]


async def test_only_the_owner_forgets(client: Client, persistence: RunningPersistence) -> None:
    await check_only_the_owner_forgets(client, persistence)


async def check_a_late_turn_stays_forgotten(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await say(client, persistence, user_id, "c1", "q", "a")
    late = await client.turn(user_id, "c1", "late", "answer")
    await forget_conversation(client, user_id, "c1")
    await persistence.parts.watermark.wait_for(await client.publish(late))
    listed = await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id))
    assert listed.conversations == ()
    assert late.messages[0].text.slot not in persistence.parts.keys.slots.used


async def test_a_late_turn_of_a_forgotten_conversation_is_not_kept_and_its_key_goes(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_a_late_turn_stays_forgotten(client, persistence)


async def test_a_quarantined_turn_is_forgotten_too(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await client.say(user_id, "c1", "q", "a")
    key = await client.open(user_id)
    broken = make_turn(key.model_copy(update={"key": b"?" * 32}), user_id, "c1", "lost", "yes")
    await persistence.parts.watermark.wait_for(await client.publish(broken))
    assert (await forget_conversation(client, user_id, "c1")).removed.quarantined == 1
    async with persistence.parts.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(QuarantinedMessageRow)) == 0
    assert key.slot not in persistence.parts.keys.slots.used


async def test_turns_that_come_while_a_conversation_is_forgotten_leave_nothing(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    await say(client, persistence, user_id, "c1", "q", "a")
    turns = [await client.turn(user_id, "c1", f"q{n}", f"a{n}") for n in range(20)]

    async def publish() -> None:
        for turn in turns:
            last = await client.publish(turn)
        await persistence.parts.watermark.wait_for(last)

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0)
    await forget_conversation(client, user_id, "c1")
    await publishing
    assert await tables_that_name(persistence, "'c1'") == set()
    slots = {turn.messages[0].text.slot for turn in turns}
    assert slots.isdisjoint(persistence.parts.keys.slots.used)


async def test_forgetting_twice_at_once_destroys_no_other_turns_key(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    await say(client, persistence, user_id, "c1", "q", "a")
    found = await asyncio.gather(
        *(forget_conversation(client, user_id, "c1") for _ in range(4)), return_exceptions=True
    )
    assert sum(f.removed.data_keys for f in found if isinstance(f, Receipt)) == 1
    assert all(isinstance(f, Receipt | ConversationNotFound) for f in found)


# ---------------------------------------------------------------- one memory


async def check_what_stays_of_a_turn_reads_on(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn = await client.turn(user_id, "c1", "secret question", "plain answer")
    await persistence.parts.watermark.wait_for(await client.publish(turn))
    question, answer = (message.message_id for message in turn.messages)
    await say(client, persistence, user_id, "c1", "and then", "that")
    before = turn.messages[0].text.slot

    receipt = await forget_memory(client, user_id, question)

    assert (receipt.scope, receipt.subject_id, receipt.removed.messages) == ("memory", question, 1)
    assert before not in persistence.parts.keys.slots.used
    assert await tables_that_name(persistence, question) == set()
    await check_every_row_opens(persistence, user_id)
    assert await conversation_texts(client, user_id, "c1") == ["plain answer", "and then", "that"]
    shown = await client.bus.request(READ_CONVERSATION, ReadConversation(user_id=user_id, conversation_id="c1"))
    assert (shown.conversation.messages, shown.messages[0].parent_id) == (3, None)
    # the stream delivers the turn again: nothing of it comes back
    again = await client.cognition.publish(TURN_COMPLETED, turn, message_id="again")
    await persistence.parts.watermark.wait_for(again)
    assert await conversation_texts(client, user_id, "c1") == ["plain answer", "and then", "that"]
    assert (await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=answer))).text == "plain answer"


async def test_what_stays_of_a_turn_reads_on_under_another_key(client: Client, persistence: RunningPersistence) -> None:
    await check_what_stays_of_a_turn_reads_on(client, persistence)


async def check_a_turn_that_went_whole_does_not_come_back(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await say(client, persistence, user_id, "c1", "q", "a")
    turn = await client.turn(user_id, "c1", "secret question", "secret answer")
    await persistence.parts.watermark.wait_for(await client.publish(turn))
    for message in reversed(turn.messages):
        await forget_memory(client, user_id, message.message_id)
    again = await client.cognition.publish(TURN_COMPLETED, turn, message_id="again")
    await persistence.parts.watermark.wait_for(again)
    assert await conversation_texts(client, user_id, "c1") == ["q", "a"]
    assert await tables_that_name(persistence, turn.turn_id) == set()


async def test_a_turn_that_went_whole_does_not_come_back(client: Client, persistence: RunningPersistence) -> None:
    await check_a_turn_that_went_whole_does_not_come_back(client, persistence)


async def test_a_conversation_goes_with_its_last_message(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    (note,) = [await remembering.note(client, user_id, "milk")]
    receipt = await forget_memory(client, user_id, note.id)
    assert (receipt.removed.messages, receipt.removed.conversations) == (1, 1)
    assert await tables_that_name(persistence, note.id, note.conversation_id) == set()
    again = await remembering.note(client, user_id, "eggs")
    assert (await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=again.id))).text == "eggs"


async def test_branches_and_the_newest_message_survive_their_forerunner(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    first = await say(client, persistence, user_id, "c1", "one", "two")
    branch = await client.turn(user_id, "c1", "branch", "leaf", parent_id=first[0])
    await persistence.parts.watermark.wait_for(await client.publish(branch))
    await forget_memory(client, user_id, first[0])
    assert await conversation_texts(client, user_id, "c1") == ["branch", "leaf"]
    for message in reversed(branch.messages):
        await forget_memory(client, user_id, message.message_id)
    assert await conversation_texts(client, user_id, "c1") == ["two"]


async def check_nothing_names_a_forgotten_memory(client: Client, persistence: RunningPersistence) -> None:
    """Jobs that wait, events that wait, and the turns in whose prompt it stood."""
    user_id = await client.user()
    question, answer = await say(client, persistence, user_id, "c1", "q", "a")
    recalling = (await client.turn(user_id, "c2", "what?", "q")).model_copy(update={"recalled": (question, answer)})
    await persistence.parts.watermark.wait_for(await client.publish(recalling))
    assert {"jobs", "turns", "memory_states"} <= await tables_that_name(persistence, question)

    assert (await forget_memory(client, user_id, question)).removed.jobs == 1

    assert await tables_that_name(persistence, question) == set()
    async with persistence.parts.database.transaction() as session:
        payloads = (await session.scalars(select(JobRow.payload))).all()
        assert [answer] in [payload["message_ids"] for payload in payloads]
        assert [answer] in (await session.scalars(select(TurnRow.recalled))).all()
    await forget_memory(client, user_id, answer)
    async with persistence.parts.database.transaction() as session:
        for table in (JobRow, OutboxRow):
            assert [] not in [payload["message_ids"] for payload in await session.scalars(select(table.payload))]


async def test_nothing_names_a_forgotten_memory(client: Client, persistence: RunningPersistence) -> None:
    await check_nothing_names_a_forgotten_memory(client, persistence)


# ---------------------------------------------------------------- facts


async def check_superseded_facts_get_the_end_they_would_have(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    said = await say(client, persistence, user_id, "c1", "Paris", "ok", "Lyon", "ok", "Nice", "ok")
    nice = remembering.fact([said[4]], "Nice", at=START + timedelta(days=2))
    lyon = remembering.fact([said[2]], "Lyon", at=START + timedelta(days=1), superseded_by=nice)
    paris = remembering.fact([said[0]], "Paris", superseded_by=lyon)
    await remembering.facts(client, user_id, nice, lyon, paris)

    await forget_memory(client, user_id, said[2])
    assert await ends(persistence) == {paris.id: (nice.id, nice.valid_from), nice.id: (None, None)}
    found = await find_newer(client, user_id, said[0])
    assert found == said[4]
    await forget_memory(client, user_id, nice.id)
    assert await ends(persistence) == {paris.id: (None, None)}
    assert await find_newer(client, user_id, said[0]) is None
    await check_every_row_opens(persistence, user_id)


async def find_newer(client: Client, user_id: str, message_id: str) -> str | None:
    return (await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=message_id))).superseded_by


async def ends(persistence: RunningPersistence) -> dict[str, tuple[str | None, object]]:
    async with persistence.parts.database.transaction() as session:
        rows = await session.execute(select(FactRow.fact_id, FactRow.superseded_by, FactRow.valid_to))
        return {fact_id: (superseder, until) for fact_id, superseder, until in rows}


async def test_a_fact_whose_superseder_is_forgotten_holds_until_the_next(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_superseded_facts_get_the_end_they_would_have(client, persistence)


async def test_a_fact_that_another_memory_tells_too_stays(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    first, second = await say(client, persistence, user_id, "c1", "Paris", "indeed Paris")
    fact = remembering.fact([first, second], "Paris")
    await remembering.facts(client, user_id, fact)
    assert (await forget_memory(client, user_id, first)).removed.facts == 0
    kept = await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=second))
    assert [(f.id, f.sources) for f in kept.facts] == [(fact.id, (second,))]
    assert (await forget_memory(client, user_id, second)).removed.facts == 1
    assert await tables_that_name(persistence, fact.id) == set()


# ---------------------------------------------------------------- everything


async def test_a_forgotten_account_leaves_nothing(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    user_id, other = await client.user("Zelda"), await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat")
    await keep_and_index(client, persistence, other, "stays", "bob is a cat")
    late = await client.turn(user_id, "gone", "late", "answer")
    key_slot = await key_slot_of(persistence, user_id)
    receipt = await client.bus.request(DELETE_USER, UserRef(name="zelda"))
    assert verify(receipt)
    assert (receipt.scope, receipt.subject_id) == ("account", user_id)
    await persistence.parts.watermark.wait_for(await client.publish(late))
    assert await tables_that_name(persistence, user_id, "Zelda", "gone", *ids.values()) == set()
    assert surviving_keys(persistence, user_id, key_slot) == []
    assert not [s for s in broker.stream(TURN_COMPLETED).messages.values() if ids["ada is a cat"].encode() in s.body]
    for request in (UserRef(user_id=user_id), UserRef(name="Zelda")):
        with pytest.raises(UserNotFound):
            await client.bus.request(READ_USER, request)
    assert set(await find(client, other, "cat")) == {"bob is a cat"}


async def test_everything_goes_and_the_account_stays(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    ids = await keep_and_index(client, persistence, user_id, "gone", "ada is a cat", "she sleeps")
    (imported,) = await remembering.import_turns(client, user_id, "elsewhere", "imported cat")
    await keep_and_index(client, persistence, other, "stays", "bob is a cat")
    key_slot = await key_slot_of(persistence, user_id)
    late = await client.turn(user_id, "gone", "late", "answer")
    receipt = await forget_everything(client, user_id)
    assert verify(receipt)
    assert (receipt.removed.messages, receipt.removed.conversations) == (3, 2)
    await persistence.parts.watermark.wait_for(await client.publish(late))
    assert await tables_that_name(persistence, "gone", imported.id, *ids.values()) == set()
    assert len(surviving_keys(persistence, user_id, key_slot)) == 1
    assert await find(client, user_id, "cat") == {}
    assert set(await find(client, other, "cat")) == {"bob is a cat"}
    await keep_and_index(client, persistence, user_id, "anew", "eve is a cat")
    assert set(await find(client, user_id, "cat")) == {"eve is a cat"}
    with pytest.raises(UserNotFound):
        await forget_everything(client, "nobody")


# ---------------------------------------------------------------- receipts


async def test_receipts_are_listed_and_tell_if_they_were_altered(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id, other = await client.user(), await client.user()
    said = await say(client, persistence, user_id, "c1", "a", "b", "c")
    given = [await forget_memory(client, user_id, one) for one in said]
    first = await client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user_id, limit=2))
    rest = await client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user_id, cursor=first.next_cursor))
    assert list(first.receipts + rest.receipts) == given[::-1]
    assert (await client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=other))) == Receipts(receipts=())
    assert all(verify(receipt, given[0].key) for receipt in given)
    altered = given[0].model_copy(update={"removed": given[0].removed.model_copy(update={"messages": 7})})
    assert not verify(altered)
    assert not verify(given[0], "another key")


async def test_a_stream_that_does_not_let_go_is_told_and_repeated(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)

    async def away(*_: Any) -> None:
        raise Unavailable("the broker is away")

    with monkeypatch.context() as patched:
        patched.setattr(type(persistence.bus), "delete_messages", away)
        receipt = await forget_conversation(client, user_id, "c1")
    assert verify(receipt)
    assert receipt.pending == ("stream_messages",)
    assert turn.messages[0].text.slot not in persistence.parts.keys.slots.used
    assert position.sequence in broker.stream(TURN_COMPLETED).messages
    await housekeeping.erase_applied(persistence.parts)
    assert position.sequence not in broker.stream(TURN_COMPLETED).messages


# ---------------------------------------------------------------- cut short

CRASHES: dict[str, tuple[Any, str]] = {
    "before anything is removed": (removal, "facts_without_source"),
    "before the promise knows what went": (forgetting_rows, "note"),
    "after the rows": (forgetting, "_erase"),
    "before the keys": (SlotFile, "destroy"),
    "before the receipt": (forgetting_rows, "add_receipt"),
    "after the keys": (SlotFile, "release"),
}
Forget = Callable[[Client, str, str], Awaitable[Receipt]]
SCOPES: dict[str, Forget] = {
    "memory": forget_memory,
    "conversation": forget_conversation,
    "document": forget_document,
    "fact": forget_memory,
    "everything": forget_everything,
    "account": forget_account,
}


_FIRST_STEPS = {
    **dict.fromkeys(("memory", "conversation", "document"), "facts_without_source"),
    **dict.fromkeys(("everything", "account"), "count_messages"),
    "fact": "ends_around",
}


def crash(patch: pytest.MonkeyPatch, where: str) -> None:
    """Nothing more is done from there on, as if the process had been killed."""
    place, name = CRASHES[where]

    def killed(*_: object, **__: object) -> Any:
        raise Unavailable("killed here")

    patch.setattr(place, name, killed)


async def _mixed_memory(client: Client, persistence: RunningPersistence, user_id: str) -> dict[str, str]:
    """One of everything; scope → what to forget of it."""
    ids = await keep_and_index(client, persistence, user_id, "c1", "ada is a cat", "she sleeps")
    await keep_and_index(client, persistence, user_id, "c2", "bob is a dog", "he barks")
    (passage, _) = await remembering.document(client, user_id, "file", "a whale", "a fish")
    drawn = remembering.fact([ids["ada is a cat"], ids["she sleeps"]], "Paris")
    await remembering.facts(client, user_id, drawn)
    return {
        "memory": ids["ada is a cat"],
        "conversation": "c1",
        "document": passage.conversation_id,
        "fact": drawn.id,
        "everything": user_id,
        "account": user_id,
    }


async def check_a_forgetting_that_was_cut_short_is_finished(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch, scope: str, where: str
) -> None:
    user_id = await client.user()
    subjects = await _mixed_memory(client, persistence, user_id)
    before = persistence.parts.keys.slots.used
    with monkeypatch.context() as patched:
        crash(patched, where)
        with pytest.raises(ServiceError):
            await SCOPES[scope](client, user_id, subjects[scope])
    if scope != "account" or where.startswith("before anything"):
        await check_every_row_opens(persistence, user_id)
    await persistence.stop()
    await persistence.start()

    assert await finish_promised(persistence.parts) == 0
    listed = await client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user_id))
    assert len(listed.receipts) == 1
    receipt = listed.receipts[0]
    assert verify(receipt)
    assert (receipt.scope, receipt.subject_id) == (scope, subjects[scope])
    assert receipt.removed.data_keys > 0
    assert len(before - persistence.parts.keys.slots.used) == receipt.removed.data_keys
    subject = {"everything": "c1", "account": user_id}.get(scope, subjects[scope])
    assert await tables_that_name(persistence, f"'{subject}'") == set()
    if scope != "account":
        await check_every_row_opens(persistence, user_id)
        found = set(await find(client, user_id, "cat dog"))
        assert ("bob is a dog" in found) == (scope != "everything")
        assert ("ada is a cat" in found) == (scope in ("document", "fact"))


@pytest.mark.parametrize("where", CRASHES)
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_forgetting_that_was_cut_short_is_finished_at_start(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch, scope: str, where: str
) -> None:
    if where == "before anything is removed":
        monkeypatch.setitem(CRASHES, where, (removal, _FIRST_STEPS[scope]))
    await check_a_forgetting_that_was_cut_short_is_finished(client, persistence, monkeypatch, scope, where)


async def check_a_slot_of_an_unfinished_forgetting_is_given_to_nobody(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "gone", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    destroy = SlotFile.destroy

    async def killed_afterwards(slots: SlotFile, chosen: frozenset[int]) -> int:
        await destroy(slots, chosen)
        raise Unavailable("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(SlotFile, "destroy", killed_afterwards)
        with pytest.raises(ServiceError):
            await forget_conversation(client, user_id, "gone")
    await persistence.stop()
    await persistence.open()
    slot = turn.messages[0].text.slot
    assert slot not in persistence.parts.keys.slots.used
    user = persistence.parts.keys.open_user(user_id, await key_slot_of(persistence, user_id))
    given = {(await persistence.parts.keys.new_data_key(user))[0] for _ in range(1100)}
    assert slot not in given
    assert await finish_promised(persistence.parts) == 1


async def test_a_slot_of_an_unfinished_forgetting_is_not_given_to_another_turn(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_a_slot_of_an_unfinished_forgetting_is_given_to_nobody(client, persistence, monkeypatch)


async def test_keys_that_something_left_behind_when_it_was_sealed_anew_go_at_start(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    slot = (await client.open(user_id)).slot
    async with persistence.parts.database.writing() as driver:
        note = await retire(driver, user_id, {slot})
    await persistence.stop()
    await persistence.open()
    user = persistence.parts.keys.open_user(user_id, await key_slot_of(persistence, user_id))
    assert slot in persistence.parts.keys.slots.used
    assert await finish_promised(persistence.parts) == 1
    assert slot not in persistence.parts.keys.slots.used
    # given out again, it is nobody else's: who comes second finds the note gone
    given = {(await persistence.parts.keys.new_data_key(user))[0] for _ in range(1100)}
    assert slot in given
    parts = persistence.parts
    assert await destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, note) == 0
    assert given <= persistence.parts.keys.slots.used


async def test_tombstones_and_promises(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await say(client, persistence, user_id, "c1", "q", "a")
    await forget_conversation(client, user_id, "c1")
    async with persistence.parts.database.transaction() as session:
        assert (await session.scalars(select(TombstoneRow.id))).all() == ["c1"]
        assert (await session.scalars(select(ForgettingRow))).all() == []
