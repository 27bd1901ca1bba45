"""Whatever runs in the night is out of a request's way within 100 ms, and goes on from where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter, sleep

import psutil
import pytest

from libs.shared.contracts.scheduling import JobPlacement, Preempt
from libs.shared.contracts.sleep import CycleState, Phase
from libs.shared.telemetry import metrics
from services.optimizer import computing
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job, PhaseReport, PhaseWork
from tests.support.broker import TestBroker
from tests.support.night_house import NightHouse, burning, sleeping
from tests.support.training_house import processor_ns

YIELDS_WITHIN_S = 0.1
"""Guarantee 3."""
WATCHED_S = 0.6
BUSY = JobPlacement(room=False, retry_after_s=0.1, reasons={"busy": 1})


async def burns(work: PhaseWork) -> PhaseReport:
    await work.compute(Job("burn"))
    return PhaseReport(done="never")


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NightHouse]:
    monkeypatch.setattr(computing, "command", burning)
    (tmp_path / "broker").mkdir()
    async with (
        TestBroker(tmp_path / "broker") as broker,
        sleeping(broker.connect, tmp_path / "state", {Phase.LIGHT: burns}, monkeypatch) as made,
    ):
        await made.sleep()
        yield made


def stands_still_after(running: psutil.Process, begun_at: float) -> float:
    """Seconds from ``begun_at`` until it was last seen to have used any of the processor."""
    used, last = processor_ns(running), begun_at
    while perf_counter() - begun_at < WATCHED_S:
        now = processor_ns(running)
        if now != used:
            used, last = now, perf_counter()
        sleep(0.001)
    return last - begun_at


async def computing_now(house: NightHouse) -> psutil.Process:
    running = await house.computes()
    begun = processor_ns(running)
    await house.until(lambda: not house.parts.gate.held and processor_ns(running) > begun)
    return running


async def check_it_makes_way(house: NightHouse) -> None:
    running = await computing_now(house)
    house.room = BUSY
    watching = asyncio.create_task(asyncio.to_thread(stands_still_after, running, perf_counter()))
    await house.preempt()
    assert await watching < YIELDS_WITHIN_S


@pytest.mark.alone
async def test_a_job_uses_no_processor_within_100_ms_and_goes_on_later(house: NightHouse) -> None:
    await check_it_makes_way(house)
    held = house.child()
    used = processor_ns(held)
    assert (await house.status()).held_by
    house.room = JobPlacement(room=True)
    await house.until(lambda: processor_ns(held) > used)
    assert house.child().pid == held.pid, "the same process, from where it was"


@pytest.mark.alone
async def test_an_optimizer_that_is_deaf_would_be_noticed(house: NightHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(_: Preempt) -> None:
        """Goes on."""

    monkeypatch.setattr(house.parts.yielding, "preempted", deaf)
    monkeypatch.setattr(Gate, "hold", lambda *_: None)
    with pytest.raises(AssertionError):
        await check_it_makes_way(house)


@pytest.mark.alone
async def test_how_long_it_took_is_counted_from_the_requests_arrival(house: NightHouse) -> None:
    def counted(within: str = "+Inf") -> float:
        name = "sleep_preemption_duration_seconds_bucket"
        return metrics.REGISTRY.get_sample_value(name, {"le": within}) or 0.0

    before, quick = counted(), counted("0.1")
    await computing_now(house)
    await house.preempt()
    await house.until(lambda: counted() == before + 1)
    assert counted("0.1") == quick + 1


async def test_what_would_reach_for_other_services_waits(house: NightHouse) -> None:
    await computing_now(house)
    house.room = BUSY
    await house.preempt()
    await house.until(lambda: house.parts.gate.held)
    waiting = asyncio.create_task(house.parts.gate.clear())
    await asyncio.sleep(0)
    assert not waiting.done()
    house.room = JobPlacement(room=True)
    async with asyncio.timeout(20):
        await waiting


async def test_nothing_is_left_of_a_job_when_its_cycle_ends(house: NightHouse) -> None:
    running = await computing_now(house)
    await house.night._end(CycleState.WOKEN, "busy")
    assert not running.is_running()
    assert house.parts.record.cycles[0].phases[0].cpu_s > 0.0
