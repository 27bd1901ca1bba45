"""Facts: sealed, found by what they speak of, gone with the last memory that tells them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.indexing import READ_UNINDEXED, ReadUnindexed
from libs.shared.contracts.keeping import (
    FIND_FACTS,
    KEEP_FACTS,
    REWRITE_MEMORY,
    FactChange,
    FactKey,
    FindFacts,
    KeepFacts,
    RewriteMemory,
)
from libs.shared.contracts.memory import (
    FORGET_MEMORY,
    LIST_MEMORIES,
    READ_MEMORY,
    Fact,
    ListMemories,
    MemoryItem,
    MemoryKind,
    MemoryRef,
)
from libs.shared.errors import InvalidRequest, MemoryNotFound
from services.persistence import forgetting
from services.persistence.handlers import facts as fact_handlers
from services.persistence.repositories import facts as fact_rows
from services.persistence.tables import FactRow, FactSourceRow
from tests.support.persistence import START, Client, RunningPersistence, imported

HOME = FactKey(subject="user", attribute="residence")


def fact(fact_id: str, value: str, *sources: str, day: int = 0, subject: str = "user") -> Fact:
    return Fact(
        id=fact_id,
        subject=subject,
        attribute="residence",
        value=value,
        text=f"Lives in {value}",
        sources=sources,
        valid_from=START + timedelta(days=day),
        extractor="rules@1",
    )


async def keep(client: Client, user_id: str, *facts: Fact, changes: tuple[FactChange, ...] = ()) -> list[str]:
    kept = await client.cognition.request(KEEP_FACTS, KeepFacts(user_id=user_id, facts=facts, changes=changes))
    return [one.id for one in kept.facts]


async def find(client: Client, user_id: str, *keys: FactKey) -> list[Fact]:
    found = await client.cognition.request(FIND_FACTS, FindFacts(user_id=user_id, keys=keys or (HOME,)))
    return list(found.facts)


async def told(client: Client, user_id: str, *texts: str) -> list[MemoryItem]:
    turns = (imported(text, text, minute=i) for i, text in enumerate(texts))
    return list((await client.import_turns(user_id, *turns)).items)


async def slots(persistence: RunningPersistence) -> set[int]:
    async with persistence.parts.database.transaction() as session:
        return set(await session.scalars(select(FactRow.slot)))


async def superseded_home(client: Client, user_id: str) -> list[MemoryItem]:
    """Paris, then Lyon; the newer ends the older."""
    said = await told(client, user_id, "I live in Paris", "I moved to Lyon")
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    end = FactChange(id="f1", valid_to=START + timedelta(days=1), superseded_by="f2")
    await keep(client, user_id, fact("f2", "Lyon", said[1].id, day=1), changes=(end,))
    return said


async def test_a_fact_is_found_by_what_it_speaks_of(client: Client) -> None:
    user_id = await client.user()
    said = await told(client, user_id, "I live in Paris")
    assert await keep(client, user_id, fact("f1", "Paris", said[0].id)) == ["f1"]
    (found,) = await find(client, user_id, FactKey(subject="User ", attribute="RESIDENCE"))
    assert (found.value, found.sources, found.said_at) == ("Paris", (said[0].id,), (START,))
    assert await find(client, user_id, FactKey(subject="user", attribute="age")) == []


async def test_what_is_kept_after_the_first_search_is_found_too(client: Client) -> None:
    user_id = await client.user()
    said = await told(client, user_id, "I live in Paris")
    assert await find(client, user_id) == []
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    assert [one.id for one in await find(client, user_id)] == ["f1"]


async def test_facts_are_known_again_after_a_restart(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await superseded_home(client, user_id)
    await persistence.stop()
    await persistence.start()
    found = await find(client, user_id)
    assert [(one.value, one.superseded_by) for one in found] == [("Paris", "f2"), ("Lyon", None)]


async def test_a_memory_shows_its_facts_and_what_tells_otherwise(client: Client) -> None:
    user_id = await client.user()
    said = await superseded_home(client, user_id)
    old = await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=said[0].id))
    new = await client.bus.request(READ_MEMORY, MemoryRef(user_id=user_id, id=said[1].id))
    assert ([one.value for one in old.facts], old.superseded_by) == (["Paris"], said[1].id)
    assert ([one.value for one in new.facts], new.superseded_by) == (["Lyon"], None)


async def test_facts_are_listed_by_whether_they_hold(client: Client) -> None:
    user_id = await client.user()
    await superseded_home(client, user_id)

    async def listed(current: bool | None) -> list[str]:
        request = ListMemories(user_id=user_id, kind=MemoryKind.FACT, current=current)
        return [item.text for item in (await client.bus.request(LIST_MEMORIES, request)).items]

    assert await listed(None) == ["Lives in Lyon", "Lives in Paris"]
    assert await listed(True) == ["Lives in Lyon"]
    assert await listed(False) == ["Lives in Paris"]


async def test_a_fact_without_a_source_that_exists_is_passed_over(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    theirs = await told(client, other, "I live in Rome")
    assert await keep(client, user_id, fact("f1", "Paris", "nothing"), fact("f2", "Rome", theirs[0].id)) == []
    assert await find(client, user_id) == []
    assert await find(client, other) == []


async def test_a_fact_is_kept_once_and_gains_sources(client: Client) -> None:
    user_id = await client.user()
    said = await told(client, user_id, "I live in Paris", "Paris is home")
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    assert await keep(client, user_id, fact("f1", "Elsewhere", said[0].id)) == []
    more = FactChange(id="f1", valid_to=None, superseded_by=None, sources=(said[1].id, "nothing"))
    await keep(client, user_id, changes=(more,))
    (found,) = await find(client, user_id)
    assert (found.value, found.sources) == ("Paris", (said[0].id, said[1].id))


async def test_an_end_by_a_fact_that_is_gone_is_none(client: Client) -> None:
    user_id = await client.user()
    said = await told(client, user_id, "I live in Paris")
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    await keep(client, user_id, changes=(FactChange(id="f1", valid_to=START, superseded_by="never"),))
    assert [(one.valid_to, one.superseded_by) for one in await find(client, user_id)] == [(None, None)]


async def test_nobody_finds_or_changes_anothers_facts(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    said = await told(client, user_id, "I live in Paris")
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    await keep(client, other, changes=(FactChange(id="f1", valid_to=START, superseded_by=None),))
    assert await find(client, other) == []
    assert [one.valid_to for one in await find(client, user_id)] == [None]
    with pytest.raises(MemoryNotFound):
        await client.bus.request(READ_MEMORY, MemoryRef(user_id=other, id="f1"))
    with pytest.raises(MemoryNotFound):
        await client.cognition.request(REWRITE_MEMORY, RewriteMemory(user_id=other, id="f1", text="mine"))


async def test_the_oldest_that_no_longer_hold_go_first_when_there_are_too_many(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_handlers, "MOST_FACTS", 2)
    user_id = await client.user()
    said = await superseded_home(client, user_id)
    before = await slots(persistence)
    await keep(client, user_id, fact("f3", "Nice", said[1].id, day=2))
    assert [one.id for one in await find(client, user_id)] == ["f2", "f3"]
    (gone,) = before - await slots(persistence)
    assert gone not in persistence.parts.keys.slots.used


async def test_an_edited_fact_loses_its_old_words_and_their_key(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    said = await told(client, user_id, "I live in Paris")
    await keep(client, user_id, fact("f1", "Paris", said[0].id))
    (old,) = await slots(persistence)
    request = RewriteMemory(user_id=user_id, id="f1", text="Lives in Laval")
    kept = await client.cognition.request(REWRITE_MEMORY, request)
    assert (kept.items[0].kind, kept.items[0].text) == (MemoryKind.FACT, "Lives in Laval")
    (found,) = await find(client, user_id)
    assert (found.value, found.extractor) == ("Laval", "user@1")
    assert old not in persistence.parts.keys.slots.used
    with pytest.raises(InvalidRequest):
        await client.cognition.request(REWRITE_MEMORY, RewriteMemory(user_id=user_id, id="f1", pinned=True))


async def check_an_edit_takes_back_what_was_drawn_from_the_old_text(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    said = await superseded_home(client, user_id)
    await keep(client, user_id, fact("f3", "Metz", said[0].id, said[1].id, subject="Ada"))
    before = await slots(persistence)
    request = RewriteMemory(user_id=user_id, id=said[1].id, text="I moved nowhere")
    await client.cognition.request(REWRITE_MEMORY, request)
    assert [(one.value, one.superseded_by, one.valid_to) for one in await find(client, user_id)] == [
        ("Paris", None, None)
    ]
    (ada,) = await find(client, user_id, FactKey(subject="Ada", attribute="residence"))
    assert ada.sources == (said[0].id,)
    assert not (before - await slots(persistence)) & persistence.parts.keys.slots.used


async def test_an_edit_takes_back_what_was_drawn_from_the_old_text(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_an_edit_takes_back_what_was_drawn_from_the_old_text(client, persistence)


async def test_facts_of_a_conversation_that_is_no_longer_remembered_go_and_none_come(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    said = await superseded_home(client, user_id)
    request = ChangeConversation(user_id=user_id, conversation_id="trip", remembered=False)
    await client.bus.request(CHANGE_CONVERSATION, request)
    assert await slots(persistence) == set()
    assert await keep(client, user_id, fact("f9", "Oslo", said[0].id)) == []


async def test_a_fact_never_outlives_a_source_that_is_forgotten_meanwhile(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    said = await told(client, user_id, *(f"text {i}" for i in range(8)))
    async with asyncio.timeout(20):
        await asyncio.gather(
            *(keep(client, user_id, fact(f"f{i}", f"v{i}", item.id)) for i, item in enumerate(said)),
            *(client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=item.id)) for item in said),
        )
    async with persistence.parts.database.transaction() as session:
        assert list(await session.scalars(select(FactRow.fact_id))) == []
        assert list(await session.scalars(select(FactSourceRow.fact_id))) == []


async def version(client: Client, user_id: str, memory_id: str) -> int | None:
    """Of its text, as it is read to be indexed."""
    asked = ReadUnindexed(user_id=user_id, message_ids=(memory_id,), indexed_too=True)
    (read,) = (await client.cognition.request(READ_UNINDEXED, asked)).messages
    return read.version


async def check_facts_of_a_text_that_was_edited_meanwhile_are_not_kept(client: Client, _: RunningPersistence) -> None:
    user_id = await client.user()
    said, other = await told(client, user_id, "I live in Paris", "I'm from Nice")
    await keep(client, user_id, fact("f0", "Nice", other.id))
    before = await version(client, user_id, said.id)
    edit = RewriteMemory(user_id=user_id, id=said.id, text="I live in Lyon")
    await client.cognition.request(REWRITE_MEMORY, edit)
    late = KeepFacts(
        user_id=user_id,
        facts=(fact("f1", "Paris", said.id),),
        changes=(FactChange(id="f0", valid_to=START, superseded_by=None, sources=(said.id,)),),
        versions={said.id: before, other.id: None},
    )
    assert (await client.cognition.request(KEEP_FACTS, late)).facts == ()
    assert [(one.id, one.sources) for one in await find(client, user_id)] == [("f0", (other.id,))]
    now = {said.id: await version(client, user_id, said.id), other.id: None}
    kept = KeepFacts(user_id=user_id, facts=(fact("f2", "Lyon", said.id, other.id),), versions=now)
    assert [one.sources for one in (await client.cognition.request(KEEP_FACTS, kept)).facts] == [(said.id, other.id)]


async def test_facts_of_a_text_that_was_edited_meanwhile_are_not_kept(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_facts_of_a_text_that_was_edited_meanwhile_are_not_kept(client, persistence)


_WAITS = text("""
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")


async def forgotten_meanwhile(persistence: RunningPersistence, forgetting_: asyncio.Task[Any]) -> None:
    """Returns once it is done, or waits in the database."""
    async with asyncio.timeout(5):
        while not forgetting_.done():
            async with persistence.parts.database.transaction() as session:
                if await session.scalar(_WAITS):
                    return


async def check_a_source_stays_until_its_facts_are_kept(client: Client, persistence: RunningPersistence) -> None:
    """The rows alone see to it: there is no lock of this process around the two."""
    user_id, parts = await client.user(), persistence.parts
    said = await told(client, user_id, "I live in Paris")
    beside = replace(parts, forgetting=asyncio.Lock())
    begun: list[asyncio.Task[Any]] = []
    real = fact_rows.keep

    async def keep_late(*arguments: Any) -> None:
        begun.append(asyncio.create_task(forgetting.forget_memory(user_id, said[0].id, beside)))
        await forgotten_meanwhile(persistence, begun[0])
        await real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fact_rows, "keep", keep_late)
        try:
            assert await keep(client, user_id, fact("f1", "Paris", said[0].id)) == ["f1"]
        finally:
            async with asyncio.timeout(5):
                await asyncio.gather(*begun)
    async with parts.database.transaction() as session:
        assert list(await session.scalars(select(FactRow.fact_id))) == []
        assert list(await session.scalars(select(FactSourceRow.fact_id))) == []


async def test_a_source_stays_until_its_facts_are_kept(client: Client, persistence: RunningPersistence) -> None:
    await check_a_source_stays_until_its_facts_are_kept(client, persistence)
