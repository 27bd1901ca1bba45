"""Thumbs reach whoever watches changes: as a number with its turn's time and side of a trial, without whose it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import LONGEST_TRIAL, Decision
from libs.shared.contracts.ratings import Thumb
from libs.shared.contracts.watching import TURN_RATED, TurnRated
from libs.shared.errors import Unavailable
from libs.shared.shares import arm_of
from tests.integration.persistence.test_living_changes import decide, in_force, propose
from tests.integration.persistence.test_ratings_and_consents import rate
from tests.support.persistence import START, Client, RunningPersistence
from tests.support.trained import talk

Heard = asyncio.Queue[TurnRated]


@pytest_asyncio.fixture
async def heard(broker: MemoryBroker) -> AsyncIterator[Heard]:
    """What the optimizer hears."""
    found, optimizer = Heard(), await broker.connect(Principal.OPTIMIZER)

    async def told(rated: TurnRated) -> None:
        found.put_nowait(rated)

    await optimizer.subscribe(TURN_RATED, told)
    yield found
    await optimizer.drain(1)


async def newest(heard: Heard) -> TurnRated:
    async with asyncio.timeout(5):
        return await heard.get()


async def check_thumbs_are_told(client: Client, persistence: RunningPersistence, heard: Heard) -> None:
    user_id = await client.user()
    first, second = [await talk(client, persistence, user_id, "c", at=START + timedelta(minutes=n)) for n in (0, 1)]
    told = []
    for turn, thumb in ((first, Thumb.UP), (first, Thumb.DOWN), (second, Thumb.DOWN), (first, None)):
        await rate(client, user_id, turn.messages[1].message_id, thumb)
        told.append(await newest(heard))
    assert [(one.began, one.bad) for one in told] == [
        (first.messages[0].at, False),
        (first.messages[0].at, True),
        (second.messages[0].at, True),
        (first.messages[0].at, None),
    ]
    assert [one.again for one in told] == [False, False, True, True]
    for one in told:
        assert one.arm is None
        for name in (user_id, first.turn_id, second.turn_id, *(m.message_id for m in first.messages)):
            assert name not in one.model_dump_json()


async def test_each_thumb_is_told_with_its_turns_time_and_nothing_of_whose_it_was(
    client: Client, persistence: RunningPersistence, heard: Heard
) -> None:
    await check_thumbs_are_told(client, persistence, heard)


async def test_the_check_notices_thumbs_that_are_told_with_the_time_of_their_giving(
    client: Client, persistence: RunningPersistence, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def about(*_: object) -> tuple[datetime, bool]:
        return datetime.now(UTC), False

    monkeypatch.setattr("services.persistence.rated.ratings.about", about)
    with pytest.raises(AssertionError):
        await check_thumbs_are_told(client, persistence, heard)


async def test_a_thumb_says_on_which_side_of_the_trial_its_conversation_is_where_its_turn_began_in_it(
    client: Client, persistence: RunningPersistence, heard: Heard
) -> None:
    user_id = await client.user()
    talks = [f"talk-{number}" for number in range(8)]
    change = await decide(client, await propose(client, 6), Decision.ACCEPT, Decision.TRY_OUT, share=0.5)
    trial = (await in_force(client)).trial
    assert trial is not None
    assert change.decided is not None
    assert trial.until == change.decided.at + LONGEST_TRIAL
    sides = set()
    for where in talks:
        old = await talk(client, persistence, user_id, where, at=change.decided.at - timedelta(hours=1))
        new = await talk(client, persistence, user_id, where, at=change.decided.at + timedelta(seconds=1))
        for turn in (old, new):
            await rate(client, user_id, turn.turn_id, Thumb.DOWN)
        assert (await newest(heard)).arm is None
        told = await newest(heard)
        assert (told.arm, told.again) == (arm_of(trial, where), False)
        sides.add(told.arm)
    assert len(sides) == 2


async def test_a_thumb_stands_though_nobody_could_be_told(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    user_id = await client.user()
    turn = await talk(client, persistence, user_id, "c", at=datetime.now(UTC))
    monkeypatch.setattr(persistence.parts.bus, "broadcast", away)
    assert await rate(client, user_id, turn.turn_id) is not None
