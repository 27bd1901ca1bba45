"""A cycle from its beginning to its end: each phase after the other, whatever becomes of it, and all of it told."""

from __future__ import annotations

import asyncio
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.sleep import (
    OPTIMISATION,
    SLEEP,
    CycleState,
    Optimisation,
    Phase,
    PhaseProgress,
    PhaseState,
    Tried,
)
from libs.shared.errors import NothingToDo, SleepUnderWay, StorageFull
from services.optimizer import computing, night
from services.optimizer.gate import Gate
from services.optimizer.phases.base import Job, JobFailed, PhaseReport, PhaseWork
from services.optimizer.record import Record
from tests.support.night_house import LIMIT_S, burning, encoding, sleeping

REPORT = PhaseReport(done="2 duplicates merged", figures={"merged": 2.0})
LIGHT = (Phase.LIGHT,)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def done(_: PhaseWork) -> PhaseReport:
    return REPORT


async def never(work: PhaseWork) -> PhaseReport:
    work.tell(PhaseProgress(doing="waits", step=1, steps=2))
    await asyncio.Event().wait()
    return REPORT


async def test_phases_run_one_after_another_and_a_failure_stops_none_of_the_others(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    async def light(work: PhaseWork) -> PhaseReport:
        order.append("light")
        assert work.folder.stat().st_mode & 0o777 == 0o700
        raise ValueError("what somebody said")

    async def deep(work: PhaseWork) -> PhaseReport:
        order.append("deep")
        raise StorageFull

    phases = {Phase.PARADOXICAL: done, Phase.LIGHT: light, Phase.DEEP: deep}
    async with sleeping(broker.connect, tmp_path, phases, monkeypatch) as house:
        cycle = await house.ended(await house.sleep())
        assert cycle.state is CycleState.DONE
        assert [one.state for one in cycle.phases] == [PhaseState.FAILED, PhaseState.FAILED, PhaseState.DONE]
        assert [one.done for one in cycle.phases] == ["ValueError", "storage_full", REPORT.done]
        assert cycle.phases[2].figures == {"merged": 2.0}
        status = await house.status()
        assert (status.running, status.cycles[0]) == (None, cycle)
        await house.until(lambda: house.told[-1].state is CycleState.DONE)
    assert order == ["light", "deep"]
    assert Record(tmp_path / "sleep" / "cycles.json").cycles[0] == cycle


async def test_a_phase_that_hangs_is_ended_and_the_next_begins(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = {Phase.LIGHT: never, Phase.DEEP: done}
    async with sleeping(broker.connect, tmp_path, phases, monkeypatch, sleep_phase_limit_s=0.2) as house:
        cycle = await house.ended(await house.sleep())
    assert [one.state for one in cycle.phases] == [PhaseState.TIMED_OUT, PhaseState.DONE]
    assert cycle.phases[0].left


async def test_where_there_is_no_phase_there_is_nothing_to_do(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sleeping(broker.connect, tmp_path, {}, monkeypatch) as house:
        with pytest.raises(NothingToDo):
            await house.sleep()
        assert (await house.status()).phases == ()


async def check_one_cycle_at_a_time(broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sleeping(broker.connect, tmp_path, {Phase.LIGHT: never}, monkeypatch) as house:
        first = await house.sleep()
        with pytest.raises(SleepUnderWay):
            await house.sleep()
        bucket = house.buses[Principal.OPTIMIZER].bucket(SLEEP)
        assert await bucket.get("cycle") == b"here"
        await house.night._end(CycleState.WOKEN, "busy")
        assert (await house.ended(first)).phases[0].state is PhaseState.STOPPED
        assert await bucket.get("cycle") is None
        await bucket.put("cycle", b"elsewhere")
        with pytest.raises(SleepUnderWay):
            await house.sleep()


async def test_one_cycle_goes_on_at_a_time_in_the_installation(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_one_cycle_at_a_time(broker, tmp_path, monkeypatch)


async def test_a_cycle_that_takes_no_lease_would_be_noticed(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def careless(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(night, "one_cycle", careless)
    with pytest.raises(AssertionError):
        await check_one_cycle_at_a_time(broker, tmp_path, monkeypatch)


async def test_a_cycle_that_its_service_did_not_end_was_interrupted(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sleeping(broker.connect, tmp_path, {Phase.LIGHT: never}, monkeypatch) as house:
        await house.sleep()
        await house.until(lambda: bool(house.told) and house.told[-1].phases[0].progress is not None)
    (cycle,) = Record(tmp_path / "sleep" / "cycles.json").cycles
    assert (cycle.state, cycle.phases[0].state) == (CycleState.INTERRUPTED, PhaseState.STOPPED)


async def test_what_was_tried_is_told_to_the_other_nodes(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tries(_: PhaseWork) -> PhaseReport:
        return PhaseReport(done="tried", tried=(Tried(key="recall_k", value=6),))

    heard: asyncio.Queue[Optimisation] = asyncio.Queue()
    listener = await broker.connect(Principal.OPTIMIZER)
    await listener.subscribe(OPTIMISATION, heard.put)
    async with sleeping(broker.connect, tmp_path, {Phase.DEEP: tries}, monkeypatch) as house:
        cycle = await house.sleep()
        async with asyncio.timeout(LIMIT_S):
            told = await heard.get()
        assert (told.node, told.cycle_id, told.tried[0].value) == ("here", cycle.cycle_id, 6)
        assert house.parts.others.tried == (), "one's own results are no other's"
    await listener.drain(1)


async def test_it_sleeps_by_itself_once_it_is_quiet_and_not_again_before_its_time(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sleeping(broker.connect, tmp_path, {Phase.LIGHT: done}, monkeypatch, sleep_enter_s=0.1) as house:
        await house.until(lambda: bool(house.parts.record.cycles) and house.night.running is None)
        (cycle,) = house.parts.record.cycles
        assert not cycle.asked_for
        assert not house.night._due()


async def test_requests_that_come_thick_end_a_cycle_that_nobody_asked_for(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = {Phase.LIGHT: never}
    async with sleeping(broker.connect, tmp_path, phases, monkeypatch, sleep_enter_s=0.1) as house:
        await house.until(lambda: house.night.running is not None)
        for _ in range(5):
            await house.preempt()
        await house.until(lambda: house.night.running is None)
        (cycle,) = house.parts.record.cycles
        assert cycle.state is CycleState.WOKEN
        assert "many_requests" in cycle.reason


async def test_a_job_answers_fails_by_name_alone_and_is_ended_when_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(computing, "command", encoding)
    words = b"a b" * 100_000
    assert await computing.compute(Job("encode", words), gate, 1) == b64encode(words)
    with pytest.raises(JobFailed, match=r"^Error at base64\.py:\d+$"):
        await computing.compute(Job("fail", b"secret words"), gate, 1)
    with pytest.raises(JobFailed, match="KeyError"):
        await computing.compute(Job("unknown"), gate, 1)
    monkeypatch.setattr(computing, "command", burning)
    with pytest.raises(TimeoutError):
        await computing.compute(Job("burn", timeout_s=0.3), gate, 1)
    assert gate.processes == set()
    assert psutil.Process().children() == []


async def test_a_job_that_dies_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(computing, "command", burning)
    job = asyncio.create_task(computing.compute(Job("burn"), gate, 1))
    async with asyncio.timeout(LIMIT_S):
        while not gate.processes:  # noqa: ASYNC110 - of another process there is no event
            await asyncio.sleep(0.01)
    (process,) = gate.processes
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(JobFailed, match="-9"):
        await job


async def test_a_cycle_that_was_asked_for_makes_way_for_many_requests_and_goes_on(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sleeping(broker.connect, tmp_path, {Phase.LIGHT: never}, monkeypatch) as house:
        await house.sleep()
        for _ in range(6):
            await house.preempt()
        await house.until(lambda: house.parts.sensing.readings().recent_requests == 6 and house.parts.gate.held)
        await house.until(lambda: not house.parts.gate.held)
        assert house.night.running is not None
