"""Searching one's memory over the bus."""

from __future__ import annotations

from libs.shared.contracts.memory import SEARCH_MEMORY, FindCandidates, SearchMemory
from libs.shared.errors import BackendFailed
from tests.unit.cognition.conftest import Build

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
    assert found.items[0].score == 1.0


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
