"""A turn's numbers: what they count, and what isn't the fault of whoever answers."""

from __future__ import annotations

import asyncio

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.watching import TURN_MEASURED, TurnMeasured
from libs.shared.errors import ContextExceeded, ServiceError, TimedOut
from services.cognition.turn_measures import Conversations, TurnClock, repetition, tell


def test_the_first_piece_is_counted_once() -> None:
    clock = TurnClock()
    clock.came()
    first = clock.ended(Conversations()).first_s
    clock.came()
    assert clock.ended(Conversations()).first_s == first is not None


@pytest.mark.parametrize(("error", "failed"), [(None, False), (ContextExceeded(), False), (TimedOut(), True)])
def test_what_cannot_be_answered_is_no_failure(error: ServiceError | None, failed: bool) -> None:
    assert TurnClock().ended(Conversations(), error).failed is failed


def test_a_search_that_brings_nothing_is_told_from_none() -> None:
    clock = TurnClock()
    assert clock.ended(Conversations()).evidence is None
    clock.recalled(())
    assert clock.ended(Conversations()).evidence == 0.0


def test_an_answer_that_is_stuck_repeats_itself_and_another_does_not() -> None:
    assert (
        repetition(
            [
                "the",
                "sea",
                "is",
                "wide",
                "and",
                "blue",
                "and",
                "cold",
                "and",
                "full",
                "of",
                "fish",
                "that",
                "nobody",
                "ever",
                "saw",
            ]
        )
        == 0.0
    )
    stuck = repetition(("I am here " * 20).split())
    assert stuck is not None
    assert stuck > 0.9
    assert repetition(["yes"] * 5) is None


@pytest.mark.parametrize(
    ("said", "stuck"),
    [("!" * 40, True), ("moon " + "\x18" * 40, True), ("Yes.", None), ("It is (so I think) the kayak!", None)],
)
def test_an_answer_that_is_stuck_in_a_sign_repeats_itself_too(said: str, stuck: bool | None) -> None:
    clock = TurnClock()
    clock.answered(said)
    assert (clock.repetition is not None and clock.repetition > 0.9) is bool(stuck)
    assert (clock.repetition is None) is (stuck is None)


async def test_who_watches_hears_it_and_nothing_of_what_was_said() -> None:
    broker, heard = MemoryBroker(), asyncio.Queue[TurnMeasured]()
    speaker, listener = await broker.connect(Principal.COGNITION), await broker.connect(Principal.OPTIMIZER)

    async def told(turn: TurnMeasured) -> None:
        heard.put_nowait(turn)

    await listener.subscribe(TURN_MEASURED, told)
    clock = TurnClock()
    clock.answered("what was said " * 10)
    await tell(speaker, clock.ended(Conversations()))
    async with asyncio.timeout(5):
        turn = await heard.get()
    assert turn.repetition is not None
    assert "said" not in turn.model_dump_json()
