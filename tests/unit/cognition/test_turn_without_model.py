"""Turns without a language model: the memory is quoted, and nothing is pretended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.memory import MemoryKind
from libs.shared.errors import (
    ModelNotFound,
    Unsupported,
)
from services.cognition import presence, recall
from tests.unit.cognition.asking import LIMIT_S, text
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import memory, whole


async def test_without_a_model_the_memory_is_quoted_and_the_turn_kept(household: Build) -> None:
    home = await household()
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request())
    assert (chunks[0].model, chunks[0].degraded) == ("extractive", "no-model")
    assert "On 1 May 2026 you said: “My dog is called Rex.”" in text(chunks)
    assert len(chunks) > 3, "it comes a sentence at a time"
    assert chunks[-1].finish_reason == "stop"
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    assert home.persistence.turns[0].model == "extractive"


async def check_what_was_just_said_is_quoted(home: Household) -> None:
    home.persistence.fresh = [memory("m9", "My dog is called Rex.")]
    chunks = await home.ask(request())
    assert "you said: “My dog is called Rex.”" in text(chunks)


async def test_what_was_just_said_elsewhere_is_quoted_before_it_is_indexed(household: Build) -> None:
    await check_what_was_just_said_is_quoted(await household())


async def test_forgetting_to_weigh_what_was_just_said_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "terms", lambda text: [])
    with pytest.raises(AssertionError):
        await check_what_was_just_said_is_quoted(await household())


async def test_a_memory_told_many_times_is_quoted_once(household: Build) -> None:
    home = await household()
    for _ in range(4):
        home.persistence.remember("My dog is called Rex.")
    home.persistence.remember("A dog barked at night.")
    chunks = await home.ask(request(explain=True))
    assert text(chunks).count("Rex") == 1
    assert "barked" in text(chunks)
    assert len(chunks[0].recalled or ()) == 2


async def test_without_a_scheduler_the_memory_is_quoted(household: Build) -> None:
    home = await household(whole, scheduler=False)
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request())
    assert chunks[0].degraded == "no-model"
    assert "Rex" in text(chunks)


async def test_without_model_and_memory_it_explains_itself(household: Build) -> None:
    home = await household(persistence=False)
    chunks = await home.ask(request("Où est mon chien ?", memory=MemoryMode.OFF))
    assert chunks[0].degraded == "no-model"
    assert text(chunks).startswith("Aucun modèle de langue")


async def test_extractive_can_be_asked_for_by_name(household: Build) -> None:
    home = await household(whole)
    home.persistence.remember("My dog is called Rex.")
    chunks = await home.ask(request(model="extractive", explain=True))
    assert (chunks[0].model, chunks[0].degraded) == ("extractive", None)
    assert [r.text for r in chunks[0].recalled or ()] == ["My dog is called Rex."]
    assert home.inference.requests == []


async def test_quotations_can_not_fill_a_schema(household: Build) -> None:
    home = await household(whole)
    with pytest.raises(Unsupported):
        await home.ask(request(model="extractive", tools={"response_format": {"type": "json_schema"}}))


async def test_a_model_that_does_not_exist_is_not_replaced(household: Build) -> None:
    home = await household(whole)
    with pytest.raises(ModelNotFound):
        await home.ask(request(model="gpt-9"))


async def test_a_request_for_a_schema_is_not_answered_by_quotations(household: Build) -> None:
    home = await household()
    with pytest.raises(Exception, match="none") as refusal:
        await home.ask(request(tools={"response_format": {"type": "json_schema"}}))
    assert getattr(refusal.value, "code", "") == "no_model"


async def test_the_missing_model_is_logged_once_and_not_for_each_request(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []

    class Log:
        def warning(self, event: str, **_: object) -> None:
            warned.append(event)

    monkeypatch.setattr(presence, "log", Log())
    home = await household()
    for number in range(5):
        await home.ask(request(turn_id=f"t{number}"))
    assert warned == ["no_language_model"]


async def test_a_question_asked_before_is_not_quoted_beside_what_answers_it(household: Build) -> None:
    home = await household()
    home.persistence.remember("What was my dog called again?")
    home.persistence.remember("My dog is called Rex.")
    told = text(await home.ask(request()))
    assert "Rex" in told
    assert "again" not in told


async def test_documents_are_quoted_with_their_page(household: Build) -> None:
    home = await household()
    about: dict[str, Any] = {"kind": MemoryKind.PASSAGE, "title": "bail.pdf", "page": 3}
    home.persistence.remember("Les chiens sont admis.", **about)
    assert "Dans « bail.pdf », p. 3, ajouté le 1er mai 2026 : « Les chiens sont admis. »" in text(
        await home.ask(request("Mon chien est-il admis ?"))
    )
