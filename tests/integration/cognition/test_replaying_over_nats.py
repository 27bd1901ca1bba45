"""What was asked is replayed and prepared between real services; the broker permits it to the optimizer alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.shared.contracts.dreaming import PREPARE_AHEAD, PrepareAhead
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from libs.shared.contracts.replay import REPLAY_ASKED, ReplayAsked
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ServiceError
from services.optimizer.replay.held import held
from services.optimizer.replay.reading import read_evidence, still_allowed
from services.optimizer.replay.scoring import replay
from tests.integration.cognition.test_memory_over_nats import House, cluster, house
from tests.support.persistence import START, Client, imported
from tests.support.trained import choose, talk

__all__ = ["cluster", "house"]
"""Fixtures."""
LATER = START + timedelta(days=1)


async def at_once() -> None:
    """Nobody waits."""
    await asyncio.sleep(0)


async def told_and_asked(house: House) -> Client:
    """Zoé told of a violet kayak; the user asked for its colour a day later, and allows replay."""
    await house.has_embedder()
    await house.bring_in(imported("D1:1", "My kayak is violet."), imported("D1:2", "The garden has a fence.", minute=1))
    client = Client(house.api, house.cognition)
    said = ("What colour is the kayak?", "It is violet.")
    await talk(client, house.persistence, house.user_id, "asking", *said, at=LATER)
    await choose(client, house.user_id, tuning=True)
    return client


async def test_evidence_comes_as_numbers_and_ends_with_consent(house: House) -> None:
    client = await told_and_asked(house)
    (one,) = await read_evidence(house.optimizer, at_once)
    assert len(one.relevant) == 1
    assert {"terms", "meaning"} <= set(one.parts)
    assert house.inference.in_background[-1], "nobody waits for it"
    scores = replay(held([one]), RuntimeSettings())
    assert scores.evidence[0] == 1.0
    assert await still_allowed(house.optimizer, [one]) == [one]
    await choose(client, house.user_id, tuning=False)
    assert await read_evidence(house.optimizer, at_once) == []
    assert await still_allowed(house.optimizer, [one]) == []


async def test_a_forgotten_question_is_not_replayed(house: House) -> None:
    await told_and_asked(house)
    (one,) = await read_evidence(house.optimizer, at_once)
    client = Client(house.api, house.cognition)
    turn = await talk(client, house.persistence, house.user_id, "again", "Which kayak?", "It is violet.", at=LATER)
    assert len(await read_evidence(house.optimizer, at_once)) == 2
    for message in turn.messages:
        await house.api.request(FORGET_MEMORY, MemoryRef(user_id=house.user_id, id=message.message_id))
    assert [left.turn_id for left in await read_evidence(house.optimizer, at_once)] == [one.turn_id]


async def test_a_habit_is_prepared_for_whoever_allows_it(house: House) -> None:
    client = await told_and_asked(house)
    for back in (1, 2, 3):
        at = datetime.now(UTC) - timedelta(days=back) + timedelta(hours=1)
        await talk(client, house.persistence, house.user_id, f"day{back}", "Where is my kayak?", "Somewhere.", at=at)
    told = await house.optimizer.request(PREPARE_AHEAD, PrepareAhead(hours=6))
    assert (told.users, told.questions, told.prepared) == (1, 1, 1)
    before = len(house.inference.embedded)
    await house.search("Where is my kayak?")
    assert len(house.inference.embedded) == before
    await choose(client, house.user_id, tuning=False)
    assert (await house.optimizer.request(PREPARE_AHEAD, PrepareAhead(hours=6))).users == 0


async def test_nobody_but_the_optimizer_may_ask_for_it(house: House) -> None:
    with pytest.raises((ServiceError, PermissionError)):
        await house.api.request(REPLAY_ASKED, ReplayAsked(), timeout_s=1.0)
