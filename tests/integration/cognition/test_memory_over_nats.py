"""What is imported, noted and said becomes memories and facts, with a real broker, database and services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import CREATE_USER, CreateUser
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.indexing import READ_UNINDEXED, ReadUnindexed
from libs.shared.contracts.inference import EMBED
from libs.shared.contracts.keeping import KEEP_TURNS, KeepTurns
from libs.shared.contracts.memory import (
    ADD_MEMORY,
    EDIT_MEMORY,
    IMPORT_TURNS,
    LIST_MEMORIES,
    SEARCH_MEMORY,
    AddMemory,
    EditMemory,
    Imported,
    ImportedTurn,
    ImportTurns,
    ListMemories,
    MemoryItem,
    MemoryKind,
    SearchMemory,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import LIST_NODES
from libs.shared.contracts.telemetry import NODE, Replica
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import InvalidRequest
from services.cognition import searchable
from services.cognition.adapters import OwnedAdapters
from services.cognition.presence import LanguageModel
from services.cognition.service import serve as serve_cognition
from services.cognition.settings import CognitionSettings
from services.persistence import housekeeping
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.service import serve as serve_scheduler
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker
from tests.support.database import Cluster, running_cluster
from tests.support.persistence import START, Client, RunningPersistence, imported, new_id
from tests.unit.cognition.household import MINILM, Inference
from tests.unit.scheduler.clusters import node

LIMIT_S = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@dataclass
class House:
    """Everything that a memory goes through, on a real broker."""

    api: Bus
    cognition: Bus
    inference: Inference
    persistence: RunningPersistence
    user_id: str
    optimizer: Bus

    async def bring_in(self, *turns: ImportedTurn) -> Imported:
        return await self.api.request(IMPORT_TURNS, ImportTurns(user_id=self.user_id, turns=turns))

    async def facts(self, *, current: bool | None = None) -> list[tuple[str, str, str]]:
        """(subject, attribute, value), newest first."""
        asked = ListMemories(user_id=self.user_id, kind=MemoryKind.FACT, current=current)
        found = await self.api.request(LIST_MEMORIES, asked)
        return [(f.subject, f.attribute, f.value) for item in found.items for f in item.facts]

    async def search(self, question: str) -> tuple[MemoryItem, ...]:
        return (await self.api.request(SEARCH_MEMORY, SearchMemory(user_id=self.user_id, query=question))).items

    async def has_embedder(self) -> None:
        """A replica that embeds, known to the scheduler."""
        await self.inference.bus.serve(EMBED, self.inference.embed, replica=f"{NODE_ID}-0")
        replica = Replica(replica=f"{NODE_ID}-0", models=(MINILM.name,))
        await self.inference.bus.broadcast(NODE, node(NODE_ID, replicas=(replica,), models=(MINILM,)))
        async with asyncio.timeout(LIMIT_S):
            while not (await self.api.request(LIST_NODES, Empty())).nodes:
                pass


@pytest.fixture
async def house(tmp_path: Path, cluster: Cluster) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(TestBroker(tmp_path))
        persistence = RunningPersistence.on(cluster, tmp_path / "state", broker.connect)
        await persistence.start()
        stack.push_async_callback(persistence.stop)
        scheduler = await broker.connect(Principal.SCHEDULER)
        scheduling = Scheduling(
            scheduler, Registry(RegistryRules(), monotonic), Grace(0.0, monotonic), RuntimeSettings, monotonic
        )
        await serve_scheduler(scheduler, scheduling)
        cognition = await broker.connect(Principal.COGNITION)
        settings = CognitionSettings(state=tmp_path / "cognition")
        await serve_cognition(cognition, settings, RuntimeSettings, LanguageModel(cognition), OwnedAdapters(cognition))
        api = await broker.connect(Principal.API)
        user_id = new_id()
        await api.request(CREATE_USER, CreateUser(user_id=user_id, name="odile", role=Role.USER))
        inference = Inference(await broker.connect(Principal.INFERENCE))
        yield House(api, cognition, inference, persistence, user_id, await broker.connect(Principal.OPTIMIZER))
        await cognition.drain(5)


async def check_imported_turns_are_searchable(house: House) -> None:
    found = await house.bring_in(
        imported("D1:1", "I live in Lyon and I work at Airbus."), imported("D1:2", "The kettle is broken.", minute=1)
    )
    assert (found.imported, found.present) == (2, 0)
    first, *_ = await house.search("Where does Zoé live?")
    assert (first.source_id, first.speaker) == ("D1:1", "Zoé")


async def test_what_is_imported_can_be_searched_and_is_drawn_on(house: House) -> None:
    await house.has_embedder()
    await check_imported_turns_are_searchable(house)
    assert set(await house.facts()) == {("Zoé", "residence", "Lyon"), ("Zoé", "employer", "Airbus")}
    assert await house.bring_in(imported("D1:1", "I live in Lyon and I work at Airbus.")) == Imported(
        imported=0, present=1
    )


async def test_an_import_that_writes_no_index_would_be_noticed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.has_embedder()
    monkeypatch.setattr(searchable, "_rows", lambda *_, **__: ())
    with pytest.raises((AssertionError, ValueError)):
        await check_imported_turns_are_searchable(house)


async def test_without_an_embedder_an_import_is_found_by_its_words(house: House) -> None:
    found = await house.bring_in(imported("D1:1", "My locker code is 4417."))
    assert found.degraded == "no-embedder"
    assert [item.source_id for item in await house.search("locker code")] == ["D1:1"]


async def check_newer_facts_supersede(house: House) -> None:
    """An archive that is brought in afterwards takes its place in time."""
    await house.bring_in(imported("D2:1", "I live in Oslo now.", minute=500))
    await house.bring_in(imported("D1:1", "I live in Lyon.", minute=1), imported("D1:2", "I love jazz.", minute=2))
    assert set(await house.facts(current=True)) == {("Zoé", "residence", "Oslo"), ("Zoé", "likes", "jazz")}
    assert await house.facts(current=False) == [("Zoé", "residence", "Lyon")]
    items = await house.search("Where does Zoé live?")
    assert [item.source_id for item in items][:2] == ["D2:1", "D1:1"], "the old one is found, and never comes first"


async def test_a_newer_fact_supersedes_an_older_that_comes_later(house: House) -> None:
    await check_newer_facts_supersede(house)


async def test_facts_in_the_order_of_their_coming_would_be_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "services.cognition.extraction.supersession.Statement.order", property(lambda s: (s.known is None,))
    )
    with pytest.raises(AssertionError):
        await check_newer_facts_supersede(house)


async def test_two_imports_of_the_same_turns_at_once_keep_each_once(house: House) -> None:
    turns = [imported(f"D1:{n}", f"I like tea number {n}.", minute=n) for n in range(40)]
    found = await asyncio.gather(*(house.bring_in(*turns) for _ in range(3)))
    assert sorted(one.imported for one in found) == [0, 0, 40]
    listed = await house.api.request(LIST_MEMORIES, ListMemories(user_id=house.user_id, limit=500))
    assert len(listed.items) == 40


async def test_a_wrong_turn_keeps_the_whole_import_out(house: House) -> None:
    future = datetime.now(START.tzinfo) + timedelta(days=3)
    wrong = imported("D1:2", "I live in Oslo.").model_copy(update={"at": future})
    with pytest.raises(InvalidRequest, match="D1:2"):
        await house.bring_in(imported("D1:1", "I live in Lyon."), wrong)
    assert (await house.api.request(LIST_MEMORIES, ListMemories(user_id=house.user_id))).items == ()


async def test_a_note_is_found_drawn_on_and_edited(house: House) -> None:
    note = await house.api.request(ADD_MEMORY, AddMemory(user_id=house.user_id, text="My sister is called Odile."))
    assert [fact.value for fact in note.facts] == ["Odile"]
    edit = EditMemory(user_id=house.user_id, id=note.id, text="My sister is called Brune.")
    await house.api.request(EDIT_MEMORY, edit)
    assert [item.text for item in await house.search("What is my sister called?")] == ["My sister is called Brune."]
    assert await house.facts() == [("user", "sister.name", "Brune")]


async def test_turns_of_a_chat_are_drawn_on_after_the_answer(house: House) -> None:
    await house.has_embedder()
    client = Client(house.api, house.cognition)
    turn = await client.turn(house.user_id, new_id(), "J'ai déménagé à Nantes.", "I live in Berlin, in a data centre.")
    await house.cognition.publish(TURN_COMPLETED, turn, message_id=turn.turn_id)
    async with asyncio.timeout(LIMIT_S):
        while not await house.facts():
            pass
    assert await house.facts() == [("user", "residence", "Nantes")], "what the assistant says is no fact"


async def test_an_import_that_broke_off_is_made_searchable_by_its_jobs(house: House) -> None:
    """As if cognition had died right after the turns were kept."""
    await house.has_embedder()
    turns = KeepTurns(user_id=house.user_id, turns=(imported("D1:1", "I live in Lyon."),))
    kept = await house.cognition.request(KEEP_TURNS, turns)
    assert kept.job_ids
    await housekeeping.repeat_index_jobs(house.persistence.parts, 0.0)
    async with asyncio.timeout(LIMIT_S):
        while not await house.facts():
            pass
    assert [item.source_id for item in await house.search("Where does Zoé live?")] == ["D1:1"]


async def test_what_is_indexed_can_be_read_once_more_for_a_model(house: House) -> None:
    await house.bring_in(imported("D1:1", "I live in Lyon."))
    (item,) = (await house.api.request(LIST_MEMORIES, ListMemories(user_id=house.user_id))).items
    await house.has_embedder()
    await housekeeping.repeat_index_jobs(house.persistence.parts, 0.0)
    plain = ReadUnindexed(user_id=house.user_id, message_ids=(item.id,))
    async with asyncio.timeout(LIMIT_S):
        while (await house.cognition.request(READ_UNINDEXED, plain)).messages:
            pass
    again = ReadUnindexed(user_id=house.user_id, message_ids=(item.id,), indexed_too=True)
    assert [one.text for one in (await house.cognition.request(READ_UNINDEXED, again)).messages] == ["I live in Lyon."]
