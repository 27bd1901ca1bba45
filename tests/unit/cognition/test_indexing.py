"""Kept messages become searchable: by their terms at once, by vectors when something embeds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.shared import extractive
from libs.shared.bus.base import Delivery
from libs.shared.contracts.common import Position, Speaker
from libs.shared.contracts.jobs import JobState
from libs.shared.contracts.memory import IndexRequested, UnindexedMessage
from libs.shared.errors import BackendFailed, NoModel, ServiceError, Unavailable
from services.cognition.embedding import Embedder
from services.cognition.indexing import CONTEXT_CHARACTERS, Indexer, embedding_text, is_memorable
from services.cognition.outcomes import Outcomes
from tests.unit.cognition.conftest import Build, Household


def message(number: int, text: str = "My dog is Rex", *, previous: str | None = None) -> UnindexedMessage:
    return UnindexedMessage(
        message_id=f"m{number}",
        speaker=Speaker.USER,
        text=text,
        previous_text=previous,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def delivery(*ids: str, attempt: int = 1, last: bool = False) -> Delivery[IndexRequested]:
    asked = IndexRequested(user_id="u1", conversation_id="c1", message_ids=ids)
    return Delivery(asked, "job-1", Position(epoch="e", sequence=1), attempt, last)


def indexer(home: Household, batch: int = 2) -> Indexer:
    return Indexer(home.cognition, Embedder(home.cognition, Outcomes(home.cognition)), batch)


async def test_messages_get_terms_and_vectors_and_the_job_is_done(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(5)]
    await indexer(home).index(delivery(*(f"m{n}" for n in range(5))))
    rows = [row for written in home.persistence.indexed for row in written.rows]
    assert [row.message_id for row in rows] == [f"m{n}" for n in range(5)]
    assert rows[0].terms == {"dog": 1, "rex": 1}
    assert all(row.vector for row in rows)
    assert {written.embedder for written in home.persistence.indexed} == {"minilm@1"}
    assert [len(texts) for texts in home.inference.embedded] == [2, 2, 1]
    assert [(j.job_id, j.state) for j in home.persistence.jobs] == [("job-1", JobState.DONE)]


async def test_without_an_embedder_terms_are_written_and_another_delivery_is_asked_for(household: Build) -> None:
    home = await household()
    home.persistence.unindexed = [message(0)]
    with pytest.raises(NoModel):
        await indexer(home).index(delivery("m0"))
    (written,) = home.persistence.indexed
    assert (written.embedder, written.rows[0].vector, written.rows[0].terms) == (None, None, {"dog": 1, "rex": 1})
    assert home.persistence.jobs == []


async def test_the_last_delivery_reports_the_job_as_failed(household: Build) -> None:
    home = await household()
    home.persistence.unindexed = [message(0)]
    await indexer(home).index(delivery("m0", attempt=8, last=True))
    (report,) = home.persistence.jobs
    assert (report.state, report.error) == (JobState.FAILED, "no_model")


async def test_forgotten_messages_finish_the_job_without_a_trace(household: Build) -> None:
    home = await household(embedder=True)
    await indexer(home).index(delivery("gone"))
    assert home.persistence.indexed == []
    assert home.persistence.jobs[0].state is JobState.DONE


async def test_persistence_away_asks_for_another_delivery(household: Build) -> None:
    home = await household(embedder=True, persistence=False)
    with pytest.raises(Unavailable):
        await indexer(home).index(delivery("m0"))


async def test_a_failing_embedder_is_told_to_the_scheduler(household: Build) -> None:
    home = await household(embedder=True)
    home.inference.embed_refusal = BackendFailed("broken")
    home.persistence.unindexed = [message(0)]
    with pytest.raises(ServiceError):
        await indexer(home).index(delivery("m0"))
    await home.scheduler.told.wait()
    assert home.scheduler.outcomes[0].model == "minilm"


def test_the_turn_before_is_the_context_and_never_crowds_out_the_text() -> None:
    assert embedding_text(message(0, "yes", previous="Do you like dogs?")) == "Do you like dogs?\nyes"
    long = embedding_text(message(0, "yes", previous="x" * 10_000))
    assert long == "x" * CONTEXT_CHARACTERS + "\nyes"


def test_quotations_of_memories_are_not_indexed() -> None:
    quoted = "".join(extractive.answer("dog?", [], why="no-model", memory="searched"))
    assert is_memorable(message(0, quoted)), "a user may quote it"
    assert not is_memorable(message(0, quoted).model_copy(update={"speaker": Speaker.ASSISTANT}))
    assert not is_memorable(message(0, "  "))
