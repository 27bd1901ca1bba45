"""Background work asks the scheduler for room, waits while there is none, and goes on where nobody can say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from libs.shared.contracts.scheduling import JobPlacement, Placement
from libs.shared.errors import Unavailable
from services.cognition.room import GIVEN_UP_S, Berth, Room
from tests.unit.cognition.asking import LIMIT_S
from tests.unit.cognition.conftest import Build, Household
from tests.unit.cognition.household import LLAMA, MINILM

THERE = Placement(node_id="node", replica="e0", model=MINILM, policy="background")
NOT_NOW = JobPlacement(retry_after_s=0.1, reasons={"busy": 1})


def room(home: Household, clock: Callable[[], float] = monotonic) -> Room:
    return Room(home.cognition, lambda embedder: embedder and embedder.partition("@")[0], clock)


async def test_work_waits_until_a_node_has_room(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOT_NOW, NOT_NOW, JobPlacement(placement=THERE))
    async with asyncio.timeout(LIMIT_S):
        found = await room(home).find("minilm@1", since=monotonic() - 7.0)
    assert found.placement == THERE
    waited = [asked.waited_s for asked in home.scheduler.jobs]
    assert [asked.model for asked in home.scheduler.jobs] == ["minilm"] * 3
    assert 7.0 <= waited[0] < waited[1] < waited[2]


async def test_where_nobody_can_say_work_goes_on_as_a_request_does(household: Build) -> None:
    home = await household(embedder=True, scheduler=False)
    assert (await room(home).find(None, since=monotonic())).placement is None


async def test_no_answer_holds_work_back_for_ever(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOT_NOW)
    assert (await room(home).find(None, since=monotonic() - GIVEN_UP_S)).placement is None


def test_a_berth_serves_what_it_was_asked_for_and_nothing_once_it_failed() -> None:
    berth = Berth(THERE)
    assert berth.serves("minilm@2")
    assert berth.serves(None)
    assert not berth.serves(f"{LLAMA.name}@1")
    berth.failed()
    assert berth.placement is None


async def test_work_that_waits_for_room_does_not_hold_a_stop_up(household: Build) -> None:
    home = await household(embedder=True)
    await home.scheduler.has_room(NOT_NOW.model_copy(update={"retry_after_s": LIMIT_S}))
    waiting = asyncio.create_task(room(home).find(None, since=monotonic()))
    while not home.scheduler.jobs:  # noqa: ASYNC110 - yields to the bus, waits for no time
        await asyncio.sleep(0)
    await home.cognition.drain(1.0)
    async with asyncio.timeout(LIMIT_S / 2):
        with pytest.raises(Unavailable, match="stopping"):
            await waiting
