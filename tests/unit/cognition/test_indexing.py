"""Kept messages become searchable: by their terms at once, by vectors when something embeds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import monotonic

import pytest

from libs.shared import extractive
from libs.shared.bus.base import Delivery
from libs.shared.contracts.common import Position, Speaker
from libs.shared.contracts.indexing import IndexMessages, IndexRequested, UnindexedMessage
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.jobs import JobState
from libs.shared.contracts.memory import Fact
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import JobPlacement, Placement, Preempt
from libs.shared.errors import BackendFailed, NoModel, Preempted, ServiceError, TimedOut, Unavailable
from services.cognition import indexing
from services.cognition.embedding import Embedder
from services.cognition.extraction.keeping import FactKeeper
from services.cognition.extraction.reading import ModelReading
from services.cognition.indexing import Indexer, Pace
from services.cognition.outcomes import Outcomes
from services.cognition.room import Room
from services.cognition.searchable import MOST_STOPPED, Searchable, of_unindexed
from services.cognition.traffic import HOLD_S, Pauses, Traffic
from services.cognition.traits import importance_of, traits_of
from tests.unit.cognition.asking import LIMIT_S
from tests.unit.cognition.conftest import Build, Household
from tests.unit.cognition.household import MINILM


def message(number: int, text: str = "My dog is Rex", *, speaker: str = "user") -> UnindexedMessage:
    return UnindexedMessage(
        message_id=f"m{number}",
        speaker=speaker,
        text=text,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def delivery(
    *ids: str,
    attempt: int = 1,
    last: bool = False,
    job_id: str = "job-1",
    user_id: str = "u1",
    embedder: str | None = None,
) -> Delivery[IndexRequested]:
    asked = IndexRequested(user_id=user_id, conversation_id="c1", message_ids=ids, job_id=job_id, embedder=embedder)
    return Delivery(asked, f"event-of-{job_id}", Position(epoch="e", sequence=1), attempt, last)


def indexer(home: Household, batch: int = 2, traffic: Traffic | None = None, pace: Pace | None = None) -> Indexer:
    embedder = Embedder(home.cognition, Outcomes(home.cognition))
    searchable = Searchable(home.cognition, embedder, FactKeeper(home.cognition).draw)
    return Indexer(home.cognition, searchable, batch, traffic or Traffic(), pace)


def with_vectors(home: Household) -> list[IndexMessages]:
    """What was written once the words were there."""
    return [w for w in home.persistence.indexed if w.done_jobs or any(row.vector for row in w.rows)]


def ends(home: Household) -> list[tuple[str, JobState]]:
    return [(job.job_id, job.state) for job in home.persistence.jobs]


async def test_messages_get_terms_and_vectors_and_the_job_is_done(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(5)]
    await indexer(home).index(delivery(*(f"m{n}" for n in range(5))))
    words, vectors = home.persistence.indexed
    for written in (words, vectors):
        assert [row.message_id for row in written.rows] == [f"m{n}" for n in range(5)]
        assert written.rows[0].terms == {"dog": 1, "rex": 1}
    assert (any(row.vector for row in words.rows), all(row.vector for row in vectors.rows)) == (False, True)
    assert (words.embedder, vectors.embedder) == (None, "minilm@1")
    assert max(len(texts) for texts in home.inference.embedded) == 2
    assert set(home.inference.in_background) == {True}
    assert (words.done_jobs, vectors.done_jobs) == ((), ("job-1",))


async def test_a_job_of_many_messages_is_done_with_the_last_of_them(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "WRITE_AT_ONCE", 2)
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(5)]
    await indexer(home).index(delivery(*(f"m{n}" for n in range(5))))
    each = [(2, ()), (2, ()), (1, ()), (2, ()), (2, ()), (1, ("job-1",))]
    assert [(len(w.rows), w.done_jobs) for w in home.persistence.indexed] == each


async def test_vectors_that_were_made_before_the_embedder_failed_are_kept(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(4)]
    home.inference.embed_refusal_after = 1
    with pytest.raises(BackendFailed):
        await indexer(home).index(delivery(*(f"m{n}" for n in range(4))))
    words, vectors = home.persistence.indexed
    assert [bool(row.terms) for row in words.rows] == [True] * 4
    assert [(row.message_id, row.vector is not None) for row in vectors.rows] == [("m0", True), ("m1", True)]
    assert vectors.done_jobs == ()


async def test_a_background_text_that_waits_too_long_is_no_failure_of_the_replica(household: Build) -> None:
    home = await household(embedder=True)
    home.inference.embed_refusal = TimedOut("too busy")
    home.persistence.unindexed = [message(0)]
    with pytest.raises(TimedOut):
        await indexer(home).index(delivery("m0"))
    home.inference.embed_refusal = BackendFailed("broken")
    with pytest.raises(BackendFailed):
        await indexer(home).index(delivery("m0"))
    async with asyncio.timeout(LIMIT_S):
        await home.scheduler.told.wait()
    assert [outcome.reason for outcome in home.scheduler.outcomes] == ["error"]


async def test_an_event_that_names_no_job_is_one(household: Build) -> None:
    home = await household(embedder=True)
    asked = IndexRequested(user_id="u1", conversation_id="c1", message_ids=("m0",))
    await indexer(home).index(Delivery(asked, "event-1", Position(epoch="e", sequence=1), 1, False))
    assert ends(home) == [("event-1", JobState.DONE)]


async def test_without_an_embedder_terms_are_written_and_another_delivery_is_asked_for(household: Build) -> None:
    home = await household()
    home.persistence.unindexed = [message(n) for n in range(3)]
    with pytest.raises(NoModel):
        await indexer(home).index(delivery("m0", "m1", "m2"))
    rows = [row for written in home.persistence.indexed for row in written.rows]
    assert [(row.vector, row.terms) for row in rows] == [(None, {"dog": 1, "rex": 1})] * 3, "those of every message"
    assert {written.embedder for written in home.persistence.indexed} == {None}
    assert ends(home) == []


async def test_the_last_delivery_reports_the_job_as_failed(household: Build) -> None:
    home = await household()
    home.persistence.unindexed = [message(0)]
    await indexer(home).index(delivery("m0", attempt=8, last=True))
    (report,) = home.persistence.jobs
    assert (report.job_id, report.state, report.error) == ("job-1", JobState.FAILED, "no_model")


async def test_forgotten_messages_finish_the_job_without_a_trace(household: Build) -> None:
    home = await household(embedder=True)
    await indexer(home).index(delivery("gone"))
    assert [written.rows for written in home.persistence.indexed] == [()]
    assert ends(home) == [("job-1", JobState.DONE)]


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


async def index_in_one_round(home: Household, *deliveries: Delivery[IndexRequested]) -> list[BaseException | None]:
    """All of them wait while a turn is under way."""
    traffic = Traffic()
    shared = indexer(home, batch=32, traffic=traffic)
    with traffic.passing():
        tasks = [asyncio.create_task(shared.index(one)) for one in deliveries]
        await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        return list(await asyncio.gather(*tasks, return_exceptions=True))


async def check_jobs_that_wait_are_indexed_together(home: Household) -> None:
    home.persistence.unindexed = [message(n) for n in range(6)]
    jobs = [delivery(f"m{n}", job_id=f"j{n}", user_id="u1" if n < 4 else "u2") for n in range(6)]
    assert await index_in_one_round(home, *jobs) == [None] * 6
    assert [(w.user_id, w.done_jobs) for w in with_vectors(home)] == [
        ("u1", ("j0", "j1", "j2", "j3")),
        ("u2", ("j4", "j5")),
    ]


async def test_jobs_that_wait_are_indexed_together(household: Build) -> None:
    await check_jobs_that_wait_are_indexed_together(await household(embedder=True))


async def test_indexing_each_job_alone_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "ROUND_JOBS", 1)
    with pytest.raises(AssertionError):
        await check_jobs_that_wait_are_indexed_together(await household(embedder=True))


@pytest.mark.parametrize(("crowded", "rounds"), [(21, [16, 4]), (20, [20])])
async def test_where_many_wait_more_get_their_vectors_in_one_round(
    household: Build, monkeypatch: pytest.MonkeyPatch, crowded: int, rounds: list[int]
) -> None:
    monkeypatch.setattr(indexing, "CROWDED", crowded)
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(20)]
    assert await index_in_one_round(home, *(delivery(f"m{n}", job_id=f"j{n}") for n in range(20))) == [None] * 20
    assert [len(written.done_jobs) for written in with_vectors(home) if written.done_jobs] == rounds


async def test_what_failed_before_is_tried_alone(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0), message(1)]
    again = delivery("m0", job_id="again", attempt=2)
    assert await index_in_one_round(home, again, delivery("m1", job_id="new")) == [None, None]
    assert sorted(written.done_jobs for written in with_vectors(home)) == [("again",), ("new",)]


async def test_a_round_that_is_cut_short_is_taken_up_by_the_next(household: Build) -> None:
    home = await household(embedder=True)
    traffic = Traffic()
    shared = indexer(home, traffic=traffic)
    with traffic.passing():
        leader, follower = (asyncio.create_task(shared.index(delivery(job_id=j))) for j in ("j0", "j1"))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
    async with asyncio.timeout(LIMIT_S):
        await follower
    assert ends(home) == [("j1", JobState.DONE)]


async def check_indexing_lets_a_turn_pass(home: Household) -> None:
    traffic = Traffic()
    slow = Pace()
    slow.ended(10.0, came_at=0.0, more=False)
    with traffic.passing():
        task = asyncio.create_task(indexer(home, traffic=traffic, pace=slow).index(delivery("m0")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert home.persistence.asked == []
    async with asyncio.timeout(LIMIT_S):
        await task
    assert ends(home) == [("job-1", JobState.DONE)]


async def test_indexing_lets_a_turn_pass(household: Build) -> None:
    await check_indexing_lets_a_turn_pass(await household(embedder=True))


async def test_indexing_beside_a_turn_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traffic, "give_way", lambda *_: asyncio.sleep(0))
    with pytest.raises(AssertionError):
        await check_indexing_lets_a_turn_pass(await household(embedder=True))


def test_who_was_held_up_for_long_makes_no_pauses_until_it_has_caught_up() -> None:
    pace = Pace()
    pace.ended(0.5, came_at=0.0, more=True)
    assert pace.pause_s == 1.5
    pace.gave_way(indexing.BEHIND_S - 1)
    pace.ended(9.0, came_at=9.0, more=True)
    assert (pace.pause_s, pace.patience_s) == (indexing.LONGEST_PAUSE_S, 1.0)
    pace.gave_way(2.0)
    assert (pace.pause_s, pace.patience_s) == (0.0, 0.0)
    pace.ended(9.0, came_at=9.0, more=False)
    assert pace.patience_s == indexing.BEHIND_S
    assert pace.pause_s == indexing.LONGEST_PAUSE_S


def test_what_waits_behind_others_waits_for_room_no_longer_than_they_do() -> None:
    pace = Pace()
    assert pace.since(600.0) == 600.0
    pace.ended(1.0, came_at=0.0, more=True)
    assert pace.since(600.0) == 0.0, "it came when there was place for it, and the machine is as hot as before"
    pace.ended(1.0, came_at=600.0, more=True)
    assert pace.since(600.0) == 0.0
    pace.ended(1.0, came_at=600.0, more=False)
    assert pace.since(601.0) == 601.0


async def test_the_turn_alone_is_embedded_and_judged(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0, "I moved to Lyon in 2019.", speaker="Odile")]
    await indexer(home).index(delivery("m0"))
    assert home.inference.embedded == [("I moved to Lyon in 2019.",)]
    ((row,),) = (written.rows for written in with_vectors(home))
    assert (row.speaker, row.words, row.importance) == ("Odile", 6, importance_of("I moved to Lyon in 2019."))
    assert row.traits == traits_of("I moved to Lyon in 2019.") != 0


async def test_an_importance_that_the_user_set_is_kept(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0).model_copy(update={"importance": 0.75})]
    await indexer(home).index(delivery("m0"))
    assert home.persistence.indexed[0].rows[0].importance == 0.75


async def check_facts_are_kept_before_the_rows(home: Household) -> None:
    home.persistence.unindexed = [message(0, "I live in Lyon.")]
    await indexer(home).index(delivery("m0"))
    order = [type(asked).__name__ for asked in home.persistence.asked]
    assert order.index("KeepFacts") < order.index("IndexMessages"), "what is indexed is not read again"
    assert [fact.value for kept in home.persistence.kept_facts for fact in kept.facts] == ["Lyon"]


async def test_facts_are_kept_before_the_rows_that_end_the_job(household: Build) -> None:
    await check_facts_are_kept_before_the_rows(await household(embedder=True))


async def test_facts_name_the_version_of_the_text_that_they_were_drawn_from(household: Build) -> None:
    home = await household(embedder=True)
    texts = ((0, "I live in Lyon."), (1, "I'm allergic to nuts."), (2, "The weather is fine."))
    home.persistence.unindexed = [message(n, said).model_copy(update={"version": 7 + n}) for n, said in texts]
    await indexer(home).index(delivery("m0", "m1", "m2"))
    assert [kept.versions for kept in home.persistence.kept_facts] == [{"m0": 7, "m1": 8}]


async def test_facts_that_are_not_drawn_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> tuple[Fact, ...]:
        return ()

    monkeypatch.setattr(FactKeeper, "draw", nothing)
    with pytest.raises((AssertionError, ValueError)):
        await check_facts_are_kept_before_the_rows(await household(embedder=True))


async def test_a_job_whose_facts_could_not_be_kept_is_not_done(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0, "I live in Lyon.")]
    home.persistence.refusing["keep_facts"] = Unavailable("restarting")
    with pytest.raises(Unavailable):
        await indexer(home).index(delivery("m0"))
    assert home.persistence.indexed == []


async def test_a_job_that_a_model_is_to_read_is_not_done_before(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0)]
    outcomes, facts = Outcomes(home.cognition), FactKeeper(home.cognition)
    settings = RuntimeSettings(extraction="model")
    reading = ModelReading(home.cognition, outcomes, facts, Traffic(), lambda: settings)
    searchable = Searchable(home.cognition, Embedder(home.cognition, outcomes), facts.draw)
    await Indexer(home.cognition, searchable, 2, Traffic(), reading=reading).index(delivery("m0"))
    assert [(len(w.rows), w.done_jobs) for w in with_vectors(home)] == [(1, ())]
    running = asyncio.create_task(reading.run())
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.finished.wait()
    running.cancel()
    await asyncio.wait([running])
    assert ends(home) == [("job-1", JobState.DONE)]


async def test_re_indexing_makes_vectors_of_the_named_embedder_and_nothing_else(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0, "I live in Lyon.")]
    await indexer(home).index(delivery("m0", embedder="minilm@1"))
    (written,) = home.persistence.indexed
    assert (written.embedder, written.rows[0].terms, written.done_jobs) == ("minilm@1", {}, ("job-1",))
    assert written.rows[0].vector is not None
    assert home.persistence.kept_facts == []


async def test_vectors_of_another_version_are_not_mixed_in(household: Build) -> None:
    home = await household(embedder=True)
    home.persistence.unindexed = [message(0)]
    with pytest.raises(Unavailable):
        await indexer(home).index(delivery("m0", embedder="minilm@2"))
    assert [row.vector for written in home.persistence.indexed for row in written.rows] == []


def test_quotations_of_memories_are_not_indexed() -> None:
    quoted = "".join(extractive.answer("dog?", [], why="no-model", memory="searched"))
    assert of_unindexed(message(0, quoted)).memorable, "a user may quote it"
    assert not of_unindexed(message(0, quoted, speaker=Speaker.ASSISTANT)).memorable
    assert not of_unindexed(message(0, "  ")).memorable


def with_room(home: Household, traffic: Traffic) -> Indexer:
    embedder = Embedder(home.cognition, Outcomes(home.cognition))
    searchable = Searchable(home.cognition, embedder, FactKeeper(home.cognition).draw)
    return Indexer(home.cognition, searchable, 1, traffic, room=Room(home.cognition, embedder.model_for))


def there(replica: str = "e0") -> JobPlacement:
    return JobPlacement(placement=Placement(node_id="node", replica=replica, model=MINILM, policy="background"))


async def test_a_round_is_embedded_where_the_scheduler_sees_room(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(JobPlacement(retry_after_s=0.1, reasons={"hot": 1}), there())
    home.persistence.unindexed = [message(n) for n in range(3)]
    await with_room(home, Traffic()).index(delivery("m0", "m1", "m2"))
    assert len(home.scheduler.jobs) == 2
    assert home.scheduler.asked == [], "nothing is placed as a request is"
    assert len(home.inference.embedded) == 3


NOWHERE = JobPlacement(retry_after_s=0.1, reasons={"hot": 1})


async def check_all_that_waits_for_room_is_found_by_its_words(home: Household) -> None:
    await home.scheduler.has_room(NOWHERE)
    many = indexing.ROUND_JOBS + 4
    home.persistence.unindexed = [message(n) for n in range(many)]
    shared = with_room(home, Traffic())
    tasks = [asyncio.create_task(shared.index(delivery(f"m{n}", job_id=f"j{n}"))) for n in range(many)]
    try:
        async with asyncio.timeout(LIMIT_S):
            while not home.scheduler.jobs:  # noqa: ASYNC110 - yields to the bus
                await asyncio.sleep(0.01)
            worded = {row.message_id for written in home.persistence.indexed for row in written.rows if row.terms}
            assert worded == {f"m{n}" for n in range(many)}, "words wait for no room"
            assert with_vectors(home) == []
            home.scheduler.rooms = [there()]
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert sorted(ends(home)) == sorted((f"j{n}", JobState.DONE) for n in range(many))


async def test_all_that_waits_for_room_is_found_by_its_words(household: Build) -> None:
    await check_all_that_waits_for_room_is_found_by_its_words(await household(embedder=True))


async def test_words_give_way_once_for_all_users(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it once for each, a house whose requests never cease would never catch up."""
    bounds: list[float] = []

    class Noted(Pauses):
        def __init__(self, traffic: Traffic, most_s: float) -> None:
            bounds.append(most_s)
            super().__init__(traffic, most_s)

    monkeypatch.setattr(indexing, "Pauses", Noted)
    home = await household(embedder=True)
    await home.scheduler.has_room(NOWHERE)
    users = 12
    home.persistence.unindexed = [message(n) for n in range(users)]
    shared = with_room(home, Traffic())
    jobs = [delivery(f"m{n}", user_id=f"user-{n}", job_id=f"j{n}") for n in range(users)]
    tasks = [asyncio.create_task(shared.index(job)) for job in jobs]
    async with asyncio.timeout(60):
        while len(home.persistence.indexed) < users:  # noqa: ASYNC110 - yields to the bus
            await asyncio.sleep(0.01)
        assert bounds == [indexing.LONGEST_PAUSE_S]
        home.scheduler.rooms = [there()]
        await asyncio.gather(*tasks)


async def test_where_too_many_wait_for_room_none_is_waited_for(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler never sees any; the words of what can't be held yet would never be made."""
    monkeypatch.setattr(indexing, "CROWDED", 3)
    home = await household(embedder=True)
    await home.scheduler.has_room(NOWHERE)
    home.persistence.unindexed = [message(n) for n in range(3)]
    shared = with_room(home, Traffic())
    async with asyncio.timeout(LIMIT_S):
        tasks = [asyncio.create_task(shared.index(delivery(f"m{n}", job_id=f"j{n}"))) for n in range(3)]
        await asyncio.wait(tasks)
    assert sorted(ends(home)) == [(f"j{n}", JobState.DONE) for n in range(3)]


async def test_words_that_wait_for_room_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_yet(*_: object) -> None:
        """Leaves them to the vectors."""

    monkeypatch.setattr(Searchable, "make_words", not_yet)
    with pytest.raises(AssertionError, match="words wait for no room"):
        await check_all_that_waits_for_room_is_found_by_its_words(await household(embedder=True))


async def test_a_job_whose_texts_are_gone_waits_for_no_room(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOWHERE)
    async with asyncio.timeout(LIMIT_S):
        await with_room(home, Traffic()).index(delivery("gone"))
    assert ends(home) == [("job-1", JobState.DONE)]
    assert home.scheduler.jobs == []


async def test_what_was_edited_while_it_waited_for_room_is_embedded_as_it_reads_now(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOWHERE)
    home.persistence.unindexed = [message(0, "I live in Lyon."), message(1)]
    task = asyncio.create_task(with_room(home, Traffic()).index(delivery("m0", "m1")))
    async with asyncio.timeout(LIMIT_S):
        while not home.scheduler.jobs:  # noqa: ASYNC110 - yields to the bus
            await asyncio.sleep(0.01)
        home.persistence.unindexed = [message(0, "I live in Metz.")]
        home.scheduler.rooms = [there()]
        await task
    assert home.inference.embedded == [("I live in Metz.",)]


async def test_a_stop_fails_no_job(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOWHERE.model_copy(update={"retry_after_s": LIMIT_S}))
    home.persistence.unindexed = [message(0)]
    task = asyncio.create_task(with_room(home, Traffic()).index(delivery("m0", attempt=8, last=True)))
    async with asyncio.timeout(LIMIT_S):
        while not home.scheduler.jobs:  # noqa: ASYNC110 - yields to the bus
            await asyncio.sleep(0.01)
        await home.cognition.drain(1.0)
        with pytest.raises(Unavailable, match="stopping"):
            await task
    assert ends(home) == []


async def test_how_long_a_job_waited_for_room_is_taken_off_its_patience(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []

    class Noted(Pauses):
        def __init__(self, traffic: Traffic, most_s: float) -> None:
            patience.append(most_s)
            super().__init__(traffic, most_s)

    monkeypatch.setattr(indexing, "Pauses", Noted)
    home = await household(embedder=True)
    await home.scheduler.has_room(*[NOWHERE] * 3, there())
    home.persistence.unindexed = [message(0)]
    async with asyncio.timeout(LIMIT_S):
        await with_room(home, Traffic()).index(delivery("m0"))
    assert patience[-1] <= indexing.BEHIND_S - 3 * NOWHERE.retry_after_s


async def test_a_replica_that_failed_is_not_asked_again_in_its_round(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(there("gone"))
    home.persistence.unindexed = [message(n) for n in range(3)]
    await with_room(home, Traffic()).index(delivery("m0", "m1", "m2"))
    assert [asked.exclude for asked in home.scheduler.asked] == [("gone",), (), ()]
    assert ends(home) == [("job-1", JobState.DONE)]


async def check_a_request_stops_the_round_between_two_texts(home: Household) -> None:
    await home.scheduler.has_room(there())
    home.persistence.unindexed = [message(n) for n in range(4)]
    traffic = Traffic()
    seen_busy: list[bool] = []
    embed = home.inference.embed

    async def preempting(request: EmbedRequest) -> Embeddings:
        seen_busy.append(traffic.busy)
        if len(seen_busy) == 2:
            await traffic.preempted(Preempt())
        return await embed(request)

    await home.inference.bus.serve(EMBED, preempting, replica="e9")
    home.scheduler.rooms = [there("e9")]
    began = monotonic()
    async with asyncio.timeout(LIMIT_S):
        await with_room(home, traffic).index(delivery(*(f"m{n}" for n in range(4))))
    assert seen_busy == [False] * 4, "no portion begins while the request is under way"
    assert monotonic() - began >= HOLD_S
    assert ends(home) == [("job-1", JobState.DONE)]


async def test_a_request_stops_the_round_between_two_texts(household: Build) -> None:
    await check_a_request_stops_the_round_between_two_texts(await household(embedder=True))


async def test_a_round_that_never_stops_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Pauses) -> None:
        """Goes on."""

    monkeypatch.setattr(Pauses, "__call__", never)
    with pytest.raises(AssertionError):
        await check_a_request_stops_the_round_between_two_texts(await household(embedder=True))


async def check_a_portion_that_was_stopped_is_made_again(home: Household) -> None:
    home.persistence.unindexed = [message(n) for n in range(3)]
    embed = home.inference.embed
    asked: list[tuple[int, bool]] = []
    traffic = Traffic()

    async def stopping(request: EmbedRequest) -> Embeddings:
        assert not traffic.busy, "it waits for the request that stopped it to pass"
        asked.append((len(request.texts), request.background))
        if len(asked) <= MOST_STOPPED:
            raise Preempted("somebody waits")
        return await embed(request)

    await home.inference.bus.serve(EMBED, stopping, replica="e9")
    await home.scheduler.has_room(there("e9"))
    async with asyncio.timeout(LIMIT_S):
        await with_room(home, traffic).index(delivery("m0", "m1", "m2"))
    assert ends(home) == [("job-1", JobState.DONE)]
    assert asked == [(1, True)] * MOST_STOPPED + [(1, False)] + [(1, True)] * 2
    assert [row.message_id for w in with_vectors(home) for row in w.rows if row.vector] == ["m0", "m1", "m2"]
    assert home.scheduler.asked == [], "it is sent to the same replica, which is well"
    assert [outcome for outcome in home.scheduler.outcomes if not outcome.ok] == []


async def test_a_portion_that_was_stopped_is_made_again_and_some_time_made(household: Build) -> None:
    await check_a_portion_that_was_stopped_is_made_again(await household(embedder=True))


async def test_a_stop_that_counts_as_a_failure_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(Exception):
        """Nothing is raised so."""

    monkeypatch.setattr("services.cognition.embedding.Preempted", Never)
    with pytest.raises(AssertionError):
        await check_a_portion_that_was_stopped_is_made_again(await household(embedder=True))


async def test_requests_without_end_hold_a_job_back_for_a_bounded_time(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BEHIND_S", 0.5)
    home = await household(embedder=True)
    home.persistence.unindexed = [message(n) for n in range(3)]
    traffic = Traffic()
    with traffic.passing():
        async with asyncio.timeout(LIMIT_S):
            await indexer(home, traffic=traffic).index(delivery("m0", "m1", "m2"))
    assert ends(home) == [("job-1", JobState.DONE)]
