"""What the pipeline evaluates outside of any cycle is out of a request's way within 100 ms, as a night's work is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.shared.contracts.scheduling import JobPlacement, Preempt
from services.optimizer import computing
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job
from tests.integration.optimizer.test_making_way import check_it_makes_way, computing_now
from tests.support.broker import TestBroker
from tests.support.night_house import NightHouse, burning, sleeping
from tests.support.training_house import processor_ns


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NightHouse]:
    """Awake, and at a job for the pipeline."""
    monkeypatch.setattr(computing, "command", burning)
    (tmp_path / "broker").mkdir()
    async with (
        TestBroker(tmp_path / "broker") as broker,
        sleeping(broker.connect, tmp_path / "state", {}, monkeypatch) as made,
    ):
        evaluating = asyncio.create_task(at_work(made))
        yield made
        evaluating.cancel()
        await asyncio.gather(evaluating, return_exceptions=True)
        assert not made.parts.gate.processes
        assert not made.parts.gate.held


async def at_work(house: NightHouse) -> None:
    async with house.parts.outside.making_way():
        await house.parts.outside.clear()
        await house.parts.outside.compute(Job("burn"))


@pytest.mark.alone
async def test_an_evaluation_uses_no_processor_within_100_ms_and_goes_on_later(house: NightHouse) -> None:
    await check_it_makes_way(house)
    held = house.child()
    used = processor_ns(held)
    house.room = JobPlacement(room=True)
    await house.until(lambda: processor_ns(held) > used)
    assert house.child().pid == held.pid


@pytest.mark.alone
async def test_an_evaluation_that_is_deaf_would_be_noticed(house: NightHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(_: Preempt) -> None:
        """Goes on."""

    monkeypatch.setattr(house.parts.outside, "preempted", deaf)
    monkeypatch.setattr(Gate, "hold", lambda *_: None)
    with pytest.raises(AssertionError):
        await check_it_makes_way(house)


async def test_one_thing_is_done_at_a_time(house: NightHouse) -> None:
    await computing_now(house)
    second = asyncio.create_task(at_work(house))
    await asyncio.sleep(0)
    assert len(house.parts.gate.processes) == 1
    assert not second.done()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
