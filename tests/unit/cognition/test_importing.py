"""Turns, notes and edits enter the memory checked, whole, and are answered once they can be searched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.keeping import (
    KEEP_NOTE,
    KEEP_TURNS,
    REWRITE_MEMORY,
    KeepNote,
    KeepTurns,
    KeptMemories,
    RewriteMemory,
)
from libs.shared.contracts.memory import (
    ADD_MEMORY,
    EDIT_MEMORY,
    IMPORT_TURNS,
    AddMemory,
    EditMemory,
    Imported,
    ImportedTurn,
    ImportTurns,
    MemoryKind,
)
from libs.shared.errors import BackendFailed, InvalidRequest, MemoryNotFound, Overloaded
from services.cognition import importing
from services.cognition.admissible import MOST_AHEAD, checked_text, checked_turns
from services.cognition.importing import Admission
from services.cognition.searchable import Portions
from tests.unit.cognition.asking import LIMIT_S
from tests.unit.cognition.conftest import Household, build
from tests.unit.cognition.household import memory

NOW = datetime.now(UTC)


def turn(number: int = 0, text: str = "I live in Lyon.", **about: object) -> ImportedTurn:
    given = {
        "id": f"D1:{number}",
        "conversation_id": "session 1",
        "speaker": "Odile",
        "text": text,
        "at": NOW - timedelta(days=9),
    }
    return ImportedTurn.model_validate(given | about)


@dataclass
class Store:
    """Keeps turns and notes as persistence does: each id once, with an index job for what is new."""

    bus: Bus
    kept: dict[str, ImportedTurn] = field(default_factory=dict)
    notes: list[KeepNote] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def start(self) -> None:
        await self.bus.serve(KEEP_TURNS, self.keep_turns)
        await self.bus.serve(KEEP_NOTE, self.keep_note)
        await self.bus.serve(REWRITE_MEMORY, self.rewrite)

    async def keep_turns(self, request: KeepTurns) -> KeptMemories:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        new = [turn for turn in request.turns if turn.id not in self.kept]
        self.kept |= {turn.id: turn for turn in new}
        items = tuple(memory(t.id.replace(":", "-"), t.text, speaker=t.speaker, at=t.at) for t in new)
        jobs = ("job-1",) if new else ()
        versions = tuple(range(7, 7 + len(new)))
        return KeptMemories(items=items, versions=versions, present=len(request.turns) - len(new), job_ids=jobs)

    async def keep_note(self, request: KeepNote) -> KeptMemories:
        self.notes.append(request)
        item = memory("note-1", request.text, kind=MemoryKind.NOTE, pinned=request.pinned)
        return KeptMemories(items=(item,), job_ids=("job-1",))

    async def rewrite(self, request: RewriteMemory) -> KeptMemories:
        if request.id != "note-1":
            raise MemoryNotFound
        item = memory("note-1", request.text or "as it was", kind=MemoryKind.NOTE)
        return KeptMemories(items=(item,), job_ids=("job-2",) if request.text else ())


@dataclass
class Home:
    """A household whose persistence keeps turns."""

    around: Household
    store: Store

    async def bring_in(self, *turns: ImportedTurn, user_id: str = "u1") -> Imported:
        return await self.around.api.request(IMPORT_TURNS, ImportTurns(user_id=user_id, turns=turns))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def home(stack: AsyncExitStack, *, embedder: bool = True) -> Home:
    around = await build(stack, embedder=embedder)
    store = Store(around.persistence.bus)
    await store.start()
    return Home(around, store)


async def test_imported_turns_are_searchable_when_they_are_answered(stack: AsyncExitStack) -> None:
    at = await home(stack)
    found = await at.bring_in(*(turn(n) for n in range(3)))
    assert found == Imported(imported=3, present=0)
    rows = [row for written in at.around.persistence.indexed for row in written.rows]
    assert [row.message_id for row in rows] == ["D1-0", "D1-1", "D1-2"]
    assert all(row.vector and row.terms and row.speaker == "Odile" for row in rows)
    assert at.around.persistence.indexed[-1].done_jobs == ("job-1",)
    assert set(at.around.inference.in_background) == {False}, "somebody waits"


async def test_facts_of_imported_turns_are_of_their_speakers(stack: AsyncExitStack) -> None:
    at = await home(stack)
    await at.bring_in(turn())
    (fact,) = at.around.persistence.kept_facts[0].facts
    assert (fact.subject, fact.attribute, fact.value, fact.sources) == ("Odile", "residence", "Lyon", ("D1-0",))


async def test_what_is_made_of_a_turn_names_the_version_of_its_text(stack: AsyncExitStack) -> None:
    at = await home(stack)
    await at.bring_in(turn(0), turn(1, "The weather is fine."))
    rows = [row for written in at.around.persistence.indexed for row in written.rows]
    assert [(row.message_id, row.version) for row in rows] == [("D1-0", 7), ("D1-1", 8)]
    assert [kept.versions for kept in at.around.persistence.kept_facts] == [{"D1-0": 7}]


async def test_the_same_turns_again_are_passed_over(stack: AsyncExitStack) -> None:
    at = await home(stack)
    await at.bring_in(turn(0), turn(1))
    written = len(at.around.persistence.indexed)
    assert await at.bring_in(turn(0), turn(1), turn(1)) == Imported(imported=0, present=3)
    assert len(at.around.persistence.indexed) == written


async def test_without_an_embedder_turns_are_found_by_their_words_and_the_job_remains(stack: AsyncExitStack) -> None:
    at = await home(stack, embedder=False)
    found = await at.bring_in(turn())
    assert (found.imported, found.degraded) == (1, "no-embedder")
    (written,) = at.around.persistence.indexed
    assert (written.rows[0].terms != {}, written.rows[0].vector, written.done_jobs) == (True, None, ())


async def test_an_embedder_that_fails_half_way_leaves_every_turn_its_words(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PORTIONS", Portions(embed=1, write=2))
    at = await home(stack)
    at.around.inference.embed_refusal_after = 3
    found = await at.bring_in(*(turn(n) for n in range(6)))
    assert found.degraded == "no-embedder"
    rows = [row for written in at.around.persistence.indexed for row in written.rows]
    assert [row.vector is not None for row in rows] == [True, True, True, False, False, False]
    assert all(row.terms for row in rows)
    assert {job for written in at.around.persistence.indexed for job in written.done_jobs} == set()


async def test_an_embedder_that_is_too_slow_is_not_waited_for(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "VECTORS_S", 0.0)
    at = await home(stack)
    found = await at.bring_in(turn())
    assert (found.imported, found.degraded) == (1, "no-embedder")
    assert at.around.inference.embedded == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"at": NOW + MOST_AHEAD + timedelta(hours=1)}, "in the future"),
        ({"at": datetime(1899, 12, 31, tzinfo=UTC)}, "before the year 1900"),
        ({"text": " \n\t"}, "the text is blank"),
        ({"text": "half \ud83d of it"}, "lone surrogate"),
        ({"speaker": "  "}, "the speaker is blank"),
    ],
)
def test_a_turn_that_cannot_be_is_refused_by_its_name(wrong: dict[str, object], says: str) -> None:
    bad = turn(7).model_copy(update=wrong)
    with pytest.raises(InvalidRequest, match=says) as refused:
        checked_turns([turn(1), bad], NOW)
    assert "turn 2 ('D1:7')" in refused.value.detail
    assert refused.value.data["errors"] == [f"turns.1.{next(iter(wrong))}"]


def test_one_id_for_two_turns_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="same id"):
        checked_turns([turn(1), turn(2), turn(1, "something else")], NOW)


def test_one_turn_twice_is_one_turn() -> None:
    assert len(checked_turns([turn(1), turn(1)], NOW)) == 1


def test_times_are_compared_in_utc() -> None:
    late = timezone(timedelta(hours=-12))
    (kept,) = checked_turns([turn(at=datetime(2024, 5, 1, 20, tzinfo=late))], NOW)
    assert kept.at == datetime(2024, 5, 2, 8, tzinfo=UTC)
    assert kept.at.utcoffset() == timedelta(0)
    (bare,) = checked_turns([turn(at=datetime(2024, 5, 1, 20))], NOW)
    assert bare.at == datetime(2024, 5, 1, 20, tzinfo=UTC)


@pytest.mark.parametrize("text", ["🦊 ça va ?", "שלום мир 世界", "e\u0301te\u0301", "x" * 65536])
def test_any_script_is_text(text: str) -> None:
    assert checked_text(text) == text


async def test_a_refused_import_keeps_nothing(stack: AsyncExitStack) -> None:
    at = await home(stack)
    with pytest.raises(InvalidRequest):
        await at.bring_in(turn(0), turn(1, "  "))
    assert at.store.kept == {}


async def test_two_imports_of_one_user_take_turns(stack: AsyncExitStack) -> None:
    at = await home(stack)
    async with asyncio.timeout(LIMIT_S):
        found = await asyncio.gather(*(at.bring_in(turn(0), turn(1)) for _ in range(4)))
    assert sorted((one.imported, one.present) for one in found) == [(0, 2)] * 3 + [(2, 0)]
    assert at.store.most_under_way == 1


async def test_too_many_imports_are_refused() -> None:
    admission = Admission(at_once=1, waiting=1)
    async with admission.entered("u1"):
        waits = asyncio.create_task(_enter(admission, "u2"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await _enter(admission, "u3")
    async with asyncio.timeout(LIMIT_S):
        await waits


async def test_a_place_that_never_gets_free_is_given_up_and_can_be_had_later() -> None:
    admission = Admission(at_once=1, waiting=4, wait_s=0.02)
    async with admission.entered("u1"):
        for user in ("u1", "u2"):
            with pytest.raises(Overloaded):
                await _enter(admission, user)
    async with asyncio.timeout(LIMIT_S):
        await _enter(admission, "u1")
        await _enter(admission, "u2")


async def _enter(admission: Admission, user_id: str) -> None:
    async with admission.entered(user_id):
        pass


async def test_a_note_is_searchable_at_once_and_tells_what_was_understood(stack: AsyncExitStack) -> None:
    at = await home(stack)
    item = await at.around.api.request(
        ADD_MEMORY, AddMemory(user_id="u1", text="My sister is called Odile.", pinned=True)
    )
    assert (item.kind, item.text, item.pinned) == (MemoryKind.NOTE, "My sister is called Odile.", True)
    assert [(fact.attribute, fact.value) for fact in item.facts] == [("sister.name", "Odile")]
    assert at.around.persistence.indexed[-1].done_jobs == ("job-1",)


async def test_a_blank_note_or_one_from_the_future_is_refused(stack: AsyncExitStack) -> None:
    at = await home(stack)
    for wrong in ({"text": "   "}, {"text": "x", "at": NOW + timedelta(days=400)}):
        with pytest.raises(InvalidRequest):
            await at.around.api.request(ADD_MEMORY, AddMemory.model_validate({"user_id": "u1"} | wrong))
    assert at.store.notes == []


async def test_a_note_is_kept_although_nothing_embeds(stack: AsyncExitStack) -> None:
    at = await home(stack, embedder=False)
    await at.around.api.request(ADD_MEMORY, AddMemory(user_id="u1", text="The spare key is under the pot."))
    (written,) = at.around.persistence.indexed
    assert written.rows[0].terms
    assert written.done_jobs == ()


async def test_an_edited_text_is_made_searchable_anew(stack: AsyncExitStack) -> None:
    at = await home(stack)
    item = await at.around.api.request(EDIT_MEMORY, EditMemory(user_id="u1", id="note-1", text="I live in Oslo."))
    assert item.text == "I live in Oslo."
    assert at.around.persistence.indexed[-1].done_jobs == ("job-2",)


async def test_a_pin_costs_no_indexing(stack: AsyncExitStack) -> None:
    at = await home(stack)
    await at.around.api.request(EDIT_MEMORY, EditMemory(user_id="u1", id="note-1", pinned=True))
    assert at.around.persistence.indexed == []


async def test_an_edit_of_nothing_and_of_what_is_not_there_is_refused(stack: AsyncExitStack) -> None:
    at = await home(stack)
    with pytest.raises(InvalidRequest):
        await at.around.api.request(EDIT_MEMORY, EditMemory(user_id="u1", id="note-1"))
    with pytest.raises(MemoryNotFound):
        await at.around.api.request(EDIT_MEMORY, EditMemory(user_id="u1", id="other", text="x"))


async def test_a_broken_embedder_fails_no_import(stack: AsyncExitStack) -> None:
    at = await home(stack)
    at.around.inference.embed_refusal = BackendFailed("broken")
    assert (await at.bring_in(turn())).degraded == "no-embedder"


def test_what_an_assistant_thought_on_the_way_is_not_imported() -> None:
    thoughtful = turn(1).model_copy(update={"speaker": "assistant", "text": "<think>secret</think>\nBees."})
    said = turn(2).model_copy(update={"speaker": "user", "text": "<think>mine</think>\nBees."})
    assert [t.text for t in checked_turns([thoughtful, said], NOW)] == ["Bees.", "<think>mine</think>\nBees."]
