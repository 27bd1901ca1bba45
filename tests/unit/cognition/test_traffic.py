"""Background work stops while requests are under way, and comes to its end although they never stop."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from libs.shared.contracts.scheduling import Preempt
from services.cognition import traffic as module
from services.cognition.traffic import HOLD_S, Pauses, Traffic
from tests.unit.cognition.asking import LIMIT_S


async def check_a_request_that_an_api_announced_stops_background_work() -> None:
    traffic = Traffic()
    pauses = Pauses(traffic, LIMIT_S)
    await pauses()
    assert pauses.paused_s == 0.0, "nothing is under way"
    await traffic.preempted(Preempt())
    began = monotonic()
    async with asyncio.timeout(LIMIT_S):
        await pauses()
    assert monotonic() - began >= HOLD_S
    assert not traffic.busy
    assert pauses.paused_s >= HOLD_S


async def test_a_request_that_an_api_announced_stops_background_work() -> None:
    await check_a_request_that_an_api_announced_stops_background_work()


async def test_going_on_although_a_request_was_announced_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traffic, "busy", False)
    with pytest.raises(AssertionError):
        await check_a_request_that_an_api_announced_stops_background_work()


async def test_a_request_of_this_process_is_let_pass_however_long_it_takes() -> None:
    traffic = Traffic()
    pauses = Pauses(traffic, LIMIT_S)
    with traffic.passing():
        waiting = asyncio.create_task(pauses())
        done, _ = await asyncio.wait([waiting], timeout=3 * module.LULL_S)
        assert not done
    async with asyncio.timeout(LIMIT_S):
        await waiting


async def test_all_pauses_together_are_bounded() -> None:
    traffic = Traffic()
    pauses = Pauses(traffic, 0.1)
    with traffic.passing():
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(pauses() for _ in range(100)))
    assert 0.1 <= pauses.paused_s < LIMIT_S


async def test_work_that_is_overdue_stops_for_a_request_as_long_as_it_has_worked() -> None:
    now = 100.0
    traffic = Traffic(lambda: now)
    pauses = Pauses(traffic, 0.0, lambda: now)
    given: list[float] = []

    async def give_way(longest_s: float) -> None:
        nonlocal now
        given.append(longest_s)
        now += longest_s

    traffic.give_way = give_way  # type: ignore[method-assign]
    with traffic.passing():
        for _ in range(3):
            now += 0.25
            await pauses()
    assert given == [0.25] * 3


async def test_after_a_portion_that_was_stopped_overdue_work_rests_as_long_as_what_stopped_it_counts() -> None:
    traffic = Traffic()
    pauses = Pauses(traffic, 0.0)
    pauses.refused()
    began = monotonic()
    async with asyncio.timeout(LIMIT_S):
        await pauses()
    assert monotonic() - began >= 0.8 * HOLD_S
    with traffic.passing():
        async with asyncio.timeout(LIMIT_S):
            await pauses()
    assert pauses.paused_s < LIMIT_S


async def test_another_request_while_background_work_waits_is_waited_for_too() -> None:
    traffic = Traffic()
    await traffic.preempted(Preempt())
    waiting = asyncio.create_task(traffic.give_way(LIMIT_S))
    await asyncio.sleep(0)
    await traffic.preempted(Preempt())
    with traffic.passing():
        done, _ = await asyncio.wait([waiting], timeout=2 * HOLD_S)
        assert not done
    async with asyncio.timeout(LIMIT_S):
        await waiting
