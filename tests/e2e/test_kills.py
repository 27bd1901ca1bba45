"""Every answered turn is there, once, whatever single process is killed; and the installation is ready again soon."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest

from tests.e2e.person import Meet, Person
from tests.support.installation import Installation

PARTS = ("api", "cognition", "persistence", "scheduler", "inference", "trainer", "optimizer", "broker", "database")
READY_AGAIN_S = 5.0


class Talker:
    """Says numbered things one after another, and knows which of them were answered."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._stop = Event()
        self._numbers = itertools.count()
        self.answered: list[str] = []
        self.refused: list[str] = []

    def talk(self, until: int | None = None) -> None:
        """Until told to stop, or until so many were answered."""
        while not self._stop.is_set() and (until is None or len(self.answered) < until):
            said = f"Note number {next(self._numbers)}: the kettle is on."
            try:
                self._person.say(said)
            except httpx.HTTPError as error:
                self.refused.append(f"{type(error).__name__} {error}")
                self._stop.wait(0.05)
            else:
                self.answered.append(said)

    def stop(self) -> None:
        self._stop.set()


def said_by(person: Person) -> Counter[str]:
    """How often each thing that the person said stands in their conversations."""
    return Counter(
        message["text"]
        for conversation in person.conversations()
        for message in person.messages(conversation["conversation_id"])
        if message["speaker"] == "user"
    )


def kill_each_part(made: Installation, meet: Meet, chats: int) -> dict[str, float]:
    """Talks while each part is killed in turn, ``chats`` answers around every kill; seconds until ready, by part."""
    person = meet(made, "talker")
    talker = Talker(person)
    took: dict[str, float] = {}
    with ThreadPoolExecutor(1) as pool:
        for part in PARTS:
            before = len(talker.answered)
            talking = pool.submit(talker.talk, before + chats)
            assert made.wait_until(lambda b=before: len(talker.answered) > b + chats // 4, 60)  # type: ignore[misc]
            took[part] = made.kill_and_wait(part)
            talking.result(timeout=300)
            assert len(talker.answered) == before + chats, talker.refused[-3:]
    kept = said_by(person)
    missing = [said for said in talker.answered if not kept[said]]
    doubled = [said for said, times in kept.items() if times > 1]
    assert not missing, f"{len(missing)} of {len(talker.answered)} answered turns are gone: {missing[:3]}"
    assert not doubled, f"doubled: {doubled[:3]}"
    return took


@pytest.mark.alone
def test_no_answered_turn_is_lost_or_doubled_by_kills(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation(MONGARS_RATE_LIMIT_PER_MINUTE="0")
    made.up()
    took = kill_each_part(made, meet, chats=12)
    print({part: round(s, 2) for part, s in took.items()})
    assert {part: s for part, s in took.items() if s > READY_AGAIN_S} == {}


@pytest.mark.soak
def test_no_answered_turn_is_lost_or_doubled_by_kills_at_the_stated_count(
    make_installation: Callable[..., Installation], meet: Meet, record_property: Callable[[str, object], None]
) -> None:
    made = make_installation(MONGARS_RATE_LIMIT_PER_MINUTE="0")
    made.up()
    took = kill_each_part(made, meet, chats=200)
    record_property("seconds_until_ready", took)
    print({part: round(s, 2) for part, s in took.items()})
    assert {part: s for part, s in took.items() if s > READY_AGAIN_S} == {}
