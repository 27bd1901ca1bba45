"""Searching one's memory over the bus."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import pytest

from libs.shared.contracts.digests import Digest, ReadDigests
from libs.shared.contracts.memory import MEMORY_CHANGED, SEARCH_MEMORY, MemoryChanged, SearchMemory
from libs.shared.contracts.recall import FindCandidates, ReadMemories, ReadProfile
from libs.shared.errors import BackendFailed
from services.cognition import memory, recall
from services.cognition.memory import SLACK
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import whole

Asked = TypeVar("Asked")

QUESTION = SearchMemory(user_id="u1", query="What is my dog called?", k=1, explain=True)


async def test_a_search_brings_the_best_with_its_parts(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.remember("My dog is called Rex.")
    home.persistence.remember("A dog barked.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION)
    (item,) = found.items
    assert (item.text, item.source_id, item.speaker) == ("My dog is called Rex.", item.id, "user")
    assert item.parts
    assert found.degraded is None


async def test_terms_vector_and_user_are_asked_for(household: Build) -> None:
    home = await household(embedder=True)
    await home.api.request(SEARCH_MEMORY, QUESTION)
    (asked,) = (q for q in home.persistence.asked if isinstance(q, FindCandidates))
    assert (asked.user_id, asked.terms, asked.embedder) == ("u1", ("dog", "cal"), "minilm@1")
    assert asked.vector


async def test_without_an_embedder_terms_alone_search_and_say_so(household: Build) -> None:
    home = await household()
    home.persistence.remember("My dog is called Rex.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION)
    assert found.degraded == "no-embedder"
    assert found.items[0].score > 0.5


async def test_a_broken_embedder_only_degrades(household: Build) -> None:
    home = await household(embedder=True)
    home.inference.embed_refusal = BackendFailed("broken")
    home.persistence.remember("My dog is called Rex.")
    assert (await home.api.request(SEARCH_MEMORY, QUESTION)).degraded == "no-embedder"


async def test_parts_are_told_only_when_asked_for(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.remember("My dog is called Rex.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION.model_copy(update={"explain": False}))
    assert found.items[0].parts == {}


def asked_for(home: Household, kind: type[Asked]) -> list[Asked]:
    return [question for question in home.persistence.asked if isinstance(question, kind)]


async def test_only_the_texts_of_the_best_are_read(household: Build) -> None:
    home = await household()
    for number in range(50):
        home.persistence.remember(f"My dog number {number}.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION.model_copy(update={"k": 3}))
    (read,) = asked_for(home, ReadMemories)
    assert len(found.items) == 3
    assert len(read.ordinals) == 3 + SLACK


async def check_what_is_repeated_makes_room(home: Household) -> None:
    for _ in range(2 + SLACK):
        home.persistence.remember("My dog is called Rex.")
    home.persistence.remember("My own dog, the brown one, is called by a whistle.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION.model_copy(update={"k": 2}))
    assert len(asked_for(home, ReadMemories)) == 2
    assert [item.text.split()[1] for item in found.items] == ["dog", "own"]


async def test_what_is_repeated_makes_room_for_what_was_not_read_at_first(household: Build) -> None:
    await check_what_is_repeated_makes_room(await household())


async def test_reading_no_more_than_at_first_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "spare", lambda _: 0)
    with pytest.raises(AssertionError):
        await check_what_is_repeated_makes_room(await household())


async def test_a_profile_is_asked_for_once_until_the_memory_changes(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.embedder = "minilm@1"
    for _ in range(3):
        await home.api.request(SEARCH_MEMORY, QUESTION)
    assert (len(asked_for(home, ReadProfile)), len(home.inference.embedded)) == (1, 1)
    await home.persistence.bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id="u2"))
    await home.api.request(SEARCH_MEMORY, QUESTION)
    assert len(asked_for(home, ReadProfile)) == 1
    await home.persistence.bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id="u1"))
    await home.api.request(SEARCH_MEMORY, QUESTION)
    assert (len(asked_for(home, ReadProfile)), len(home.inference.embedded)) == (2, 2)


async def test_the_speakers_of_the_memory_are_known_by_name(household: Build) -> None:
    home = await household()
    home.persistence.remember("I live by the sea.", speaker="Odile")
    home.persistence.remember("I live by the sea, too, as you know.", speaker="Marc")
    question = QUESTION.model_copy(update={"query": "Where does Odile live by the sea?", "k": 2})
    found = await home.api.request(SEARCH_MEMORY, question)
    assert [item.speaker for item in found.items] == ["Odile", "Marc"]
    assert found.understood["names"] == ["Odile"]


async def test_times_are_resolved_against_the_asker_s_clock(household: Build) -> None:
    home = await household()
    now = datetime(2024, 3, 10, tzinfo=UTC)
    question = QUESTION.model_copy(update={"query": "What did I buy last year?", "now": now})
    understood = (await home.api.request(SEARCH_MEMORY, question)).understood
    (asked,) = asked_for(home, FindCandidates)
    assert [span.start for span in asked.intervals] == [datetime(2023, 1, 1, tzinfo=UTC)]
    assert understood["times"] == [["2023-01-01T00:00:00+00:00", "2024-01-01T00:00:00+00:00"]]


TRIP = datetime(2024, 5, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "question", "start"),
    [
        ("The trip to Rome begins today!", "What did I buy the week before the trip to Rome?", 13),
        ("Yesterday the trip to Rome began.", "What did I buy the week before the trip to Rome?", 12),
        ("Le voyage à Rome commence aujourd'hui !", "Qu'ai-je fait le lendemain du voyage à Rome ?", 21),
    ],
)
async def test_a_time_that_hangs_on_an_event_follows_from_the_event(
    household: Build, told: str, question: str, start: int
) -> None:
    home = await household()
    home.persistence.remember(told, at=TRIP)
    await home.api.request(SEARCH_MEMORY, QUESTION.model_copy(update={"query": question}))
    (span,) = asked_for(home, FindCandidates)[-1].intervals
    assert span.start == datetime(2024, 5, start, tzinfo=UTC)


async def test_an_event_that_nobody_told_of_gives_no_time(household: Build) -> None:
    home = await household()
    home.persistence.remember("It rains in Lyon.")
    question = QUESTION.model_copy(update={"query": "What did I buy the week before the trip to Rome?"})
    await home.api.request(SEARCH_MEMORY, question)
    assert asked_for(home, FindCandidates)[-1].intervals == ()


async def test_a_budget_bounds_the_texts_instead_of_their_number(household: Build) -> None:
    home = await household()
    for number in range(20):
        home.persistence.remember(f"My dog number {number} barks at {number} cats every morning.")
    question = QUESTION.model_copy(update={"k": 20, "budget_tokens": 40})
    found = await home.api.request(SEARCH_MEMORY, question)
    assert 1 <= len(found.items) < 20
    assert sum(len(item.text) for item in found.items) / 3.5 <= 40


async def test_what_is_superseded_stands_below_and_says_so(household: Build) -> None:
    home = await household()
    home.persistence.remember("My dog is called Rex, my dog Rex.", superseded_by="m1")
    home.persistence.remember("The dog is called Max now.")
    found = await home.api.request(SEARCH_MEMORY, QUESTION.model_copy(update={"k": 2}))
    assert [item.id for item in found.items] == ["m1", "m0"]
    assert found.items[1].superseded_by == "m1"
    before = QUESTION.model_copy(update={"k": 2, "query": "What was my dog called before?"})
    assert [item.id for item in (await home.api.request(SEARCH_MEMORY, before)).items] == ["m0", "m1"]


async def check_nothing_unrelated_is_recalled(home: Household) -> None:
    home.persistence.remember("A tram passed by the old town hall.")
    home.persistence.remember("We talked of the garden, of your dog, of trams, of the sea and of everything else.")
    chunks = await home.ask(request("Which colour had the bridge over the river in the old painting?", explain=True))
    assert chunks[0].recalled == ()


async def test_nothing_unrelated_enters_a_prompt(household: Build) -> None:
    await check_nothing_unrelated_is_recalled(await household(whole))


async def test_a_prompt_that_takes_anything_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "evidence_for", lambda found, whole: 1.0)
    with pytest.raises(AssertionError):
        await check_nothing_unrelated_is_recalled(await household(whole))


# ---------------------------------------------------------------- digests


def digested(home: Household) -> str:
    """A memory with a digest; its id."""
    item = home.persistence.remember("Hello there! My dog is called Rex. How are you?")
    told = ("My dog is called Rex.",)
    home.persistence.digests = {item.id: Digest(message_id=item.id, sentences=told)}
    return item.id


BUDGET = QUESTION.model_copy(update={"budget_tokens": 100})


async def test_within_a_budget_digests_are_told_and_say_of_what(household: Build) -> None:
    home = await household()
    message_id = digested(home)
    found = await home.api.request(SEARCH_MEMORY, BUDGET)
    (item,) = found.items
    assert (item.text, item.digest, item.sources) == ("1 May 2026. User: My dog is called Rex.", True, (message_id,))
    assert item.parts
    assert found.understood["digests"] == 1


async def test_without_a_budget_memories_stand_as_they_were_said(household: Build) -> None:
    home = await household()
    digested(home)
    (item,) = (await home.api.request(SEARCH_MEMORY, QUESTION)).items
    assert (item.text, item.digest) == ("Hello there! My dog is called Rex. How are you?", False)
    assert not asked_for(home, ReadDigests)


@pytest.mark.parametrize("rolled_back", [True, False])
async def test_digests_that_are_gone_or_can_t_be_read_are_done_without(household: Build, rolled_back: bool) -> None:
    home = await household()
    digested(home)
    await home.api.request(SEARCH_MEMORY, BUDGET)
    if rolled_back:
        home.persistence.digests = None
    else:
        home.persistence.refusing["read_digests"] = BackendFailed("broken")
    (item,) = (await home.api.request(SEARCH_MEMORY, BUDGET)).items
    assert (item.text, item.digest) == ("Hello there! My dog is called Rex. How are you?", False)


async def test_a_prompt_has_what_a_digest_tells(household: Build) -> None:
    home = await household(whole)
    digested(home)
    await home.ask(request())
    ((_, given),) = home.inference.requests
    prompt = " ".join(message.text for message in given.messages)
    assert "the user: My dog is called Rex.\n" in prompt
    assert "How are you?" not in prompt
