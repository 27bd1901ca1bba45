"""What is asked again and again is foreseen, made ready, and forgotten with what it came from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.dreaming import PREPARE_AHEAD, PrepareAhead, PreparedAhead
from libs.shared.contracts.memory import MEMORY_CHANGED, SEARCH_MEMORY, MemoryChanged, SearchMemory
from libs.shared.contracts.replay import READ_ASKED, AskedRead, AskedTurn, ReadAsked
from services.cognition.dreaming.likely import LEAST_CHANCE, Past, foreseen, likely
from services.cognition.question_vectors import QuestionVectors
from tests.unit.cognition.conftest import Build, Household

NOW = datetime(2026, 11, 2, 6, tzinfo=UTC)
"""A Monday."""
DAY = timedelta(days=1)
WEATHER = "What is on my calendar?"


def daily(text: str, days: Sequence[int], *, now: datetime = NOW, hour: float = 2.0, within: str = "c") -> list[Past]:
    return [Past(text, now - back * DAY + timedelta(hours=hour), f"{within}{back}") for back in days]


def test_a_habit_at_that_time_of_day_is_foreseen() -> None:
    (one,) = likely(daily(WEATHER, range(1, 8)), NOW, 6, 10)
    assert one.text == WEATHER
    assert one.chance > 0.8


def test_a_habit_of_the_evening_is_not_prepared_in_the_morning() -> None:
    assert likely(daily(WEATHER, range(1, 8), hour=14.0), NOW, 6, 10) == []


def test_what_was_asked_on_one_day_alone_is_no_habit() -> None:
    once = [Past(WEATHER, NOW - DAY + timedelta(minutes=n), "c") for n in (1, 20, 40)]
    assert likely(once, NOW, 6, 10) == []


def test_a_weekly_question_comes_on_its_weekday() -> None:
    history = daily("Who plays on Monday?", (7, 14, 21)) + daily("other", (28,))
    (monday,) = likely(history, NOW, 6, 10)
    tuesday = sum(one.chance for one in likely(history, NOW + DAY, 6, 10))
    assert monday.chance > 0.5
    assert tuesday < monday.chance / 4


def test_a_sequel_is_as_likely_as_what_it_follows() -> None:
    history = daily(WEATHER, range(1, 7))
    history += [Past("And tomorrow?", one.at + timedelta(minutes=5), one.conversation_id) for one in history[:3]]
    found = {one.text: one.chance for one in likely(history, NOW, 6, 10)}
    assert found["And tomorrow?"] >= found[WEATHER] / 2


def test_other_wordings_are_one_question_as_it_was_worded_last() -> None:
    history = [*daily("what is on my calendar", (3, 2)), *daily(WEATHER, (1,))]
    assert [one.text for one in likely(history, NOW, 6, 10)] == [WEATHER]


def test_a_past_day_is_foretold_from_what_came_before_it_alone() -> None:
    steady = daily(WEATHER, range(1, 15))
    assert foreseen(steady, NOW, 6, 10, 7) == (7, 7)
    fresh = daily(WEATHER, range(1, 4))
    asked, hits = foreseen(fresh, NOW, 6, 10, 7)
    assert (asked, hits) == (3, 1), "the first two days could not have been foreseen"


PASTS = st.lists(
    st.builds(
        Past,
        text=st.sampled_from(("a?", "b?", "c?", "")),
        at=st.datetimes(datetime(2026, 9, 20), datetime(2026, 11, 3)).map(lambda at: at.replace(tzinfo=UTC)),
        conversation_id=st.sampled_from(("x", "y")),
    ),
    max_size=40,
)


@given(PASTS, st.floats(1, 24), st.integers(1, 3))
def test_chances_are_chances_and_nothing_comes_of_the_future(past: list[Past], hours: float, most: int) -> None:
    found = likely(past, NOW, hours, most)
    assert len(found) <= most
    assert all(LEAST_CHANCE <= one.chance <= 1 for one in found)
    assert found == likely([one for one in past if one.at < NOW], NOW, hours, most)


def turns(questions: Sequence[Past], user_id: str = "u1") -> tuple[AskedTurn, ...]:
    return tuple(
        AskedTurn(
            turn_id=f"t{number}",
            user_id=user_id,
            conversation_id=one.conversation_id,
            question=one.text,
            answer="something",
            at=one.at,
        )
        for number, one in enumerate(questions)
    )


async def dreaming_house(household: Build, during: asyncio.Event | None = None) -> Household:
    """Whose user asks one thing every day at this hour."""
    home = await household(embedder=True)
    home.persistence.embedder = "minilm@1"
    asked = turns(daily(WEATHER, range(1, 8), now=datetime.now(UTC), hour=1.0))

    async def read(request: ReadAsked) -> AskedRead:
        assert request.whatever_answered
        if during is not None:
            await during.wait()
        return AskedRead(asked=asked)

    await home.persistence.bus.serve(READ_ASKED, read)
    return home


async def prepare(home: Household) -> PreparedAhead:
    return await home.optimizer.request(PREPARE_AHEAD, PrepareAhead(hours=6))


async def ask(home: Household) -> None:
    await home.api.request(SEARCH_MEMORY, SearchMemory(user_id="u1", query=WEATHER, k=3))


async def check_a_prepared_question_is_embedded_beforehand(household: Build) -> None:
    home = await dreaming_house(household)
    told = await prepare(home)
    assert (told.users, told.questions, told.prepared) == (1, 1, 1)
    assert told.foreseen <= told.asked
    assert home.inference.in_background == [True]
    await ask(home)
    assert len(home.inference.embedded) == 1, "its asker waits for no embedder"


async def test_a_prepared_question_is_embedded_beforehand(household: Build) -> None:
    await check_a_prepared_question_is_embedded_beforehand(household)


async def test_the_check_notices_that_nothing_is_kept(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_vain(self: QuestionVectors, user_id: str, text: str, embedder: str, seconds: float) -> None:
        await self._embed(user_id, text, embedder, background=True)

    monkeypatch.setattr(QuestionVectors, "prepare", in_vain)
    with pytest.raises(AssertionError):
        await check_a_prepared_question_is_embedded_beforehand(household)


async def check_what_was_prepared_goes_when_the_memory_changes(household: Build) -> None:
    home = await dreaming_house(household)
    await prepare(home)
    await home.persistence.bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id="u1"))
    await ask(home)
    assert len(home.inference.embedded) == 2


async def test_what_was_prepared_goes_when_the_memory_changes(household: Build) -> None:
    await check_what_was_prepared_goes_when_the_memory_changes(household)


async def test_the_check_notices_that_what_was_prepared_stays(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuestionVectors, "changed", lambda self, user_id: None)
    with pytest.raises(AssertionError):
        await check_what_was_prepared_goes_when_the_memory_changes(household)


async def test_what_is_forgotten_while_it_is_prepared_is_not_prepared(household: Build) -> None:
    reading = asyncio.Event()
    home = await dreaming_house(household, reading)
    async with asyncio.timeout(5):
        preparing = asyncio.create_task(prepare(home))
        while not preparing.done():
            await home.persistence.bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id="u1"))
            reading.set()
            await asyncio.sleep(0)
        told = await preparing
    assert (told.questions, told.prepared) == (1, 0)


async def test_a_question_that_is_not_expected_waits_as_ever(household: Build) -> None:
    home = await dreaming_house(household)
    await prepare(home)
    await home.api.request(SEARCH_MEMORY, SearchMemory(user_id="u1", query="Where is the kayak?", k=3))
    assert len(home.inference.embedded) == 2
