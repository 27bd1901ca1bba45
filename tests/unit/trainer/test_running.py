"""A run from its event to its report: deaths are borne, refusals told, and a stop leaves it to the next life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Delivery
from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Position
from libs.shared.contracts.material import TRAINING_MATERIAL, Exchange, MaterialChunk, TrainingMaterial
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement
from libs.shared.contracts.training import (
    READ_RUN,
    REPORT_RUN,
    MntpOptions,
    ReportRun,
    RunKind,
    RunProgress,
    RunRef,
    RunState,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import RunNotFound, Unavailable
from libs.shared.layout import StateFolder
from services.trainer import handing_in_encoders, running
from services.trainer.running import Runner
from services.trainer.telling import UNDER_WAY, Done, Refused, Stands

LIMIT_S = 30
DONE = Done(artefact="encoder", metrics={"mntp_loss_last": 1.0})
RUN = TrainingRun(
    run_id="r1",
    kind=RunKind.MNTP,
    state=RunState.QUEUED,
    model="llama",
    text="diary.txt",
    seed=0,
    options=MntpOptions(),
    created_at=datetime(2026, 5, 4, tzinfo=UTC),
)


def at(step: int) -> Stands:
    return Stands(progress=RunProgress(phase="mntp", step=step, steps=100))


@dataclass
class Life:
    """One process of the run: what it says, and how it ends."""

    said: tuple[Stands | Done | Refused, ...] = ()
    code: int = 0
    endless: bool = False
    pid: int = 1
    patience_s: float | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def pause(self) -> None: ...

    def go_on(self) -> None: ...

    async def words(self) -> AsyncIterator[Stands | Done | Refused]:
        for word in self.said:
            yield word
        if self.endless:
            await self._over.wait()

    async def ended(self) -> int:
        return self.code

    async def end(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._over.set()


@dataclass
class House:
    """The runner, with lives that the test wrote, beside a persistence of one run."""

    folder: StateFolder
    run: TrainingRun = RUN
    reports: list[ReportRun] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    begun: int = 0
    material: list[Exchange] = field(default_factory=list)
    away: int = 0
    """How many reports of an end are lost."""
    bus: MemoryBus = field(init=False)
    kept: MemoryBus = field(init=False)
    runner: Runner = field(init=False)

    async def open(self) -> None:
        broker = MemoryBroker()
        self.kept = await broker.connect(Principal.PERSISTENCE)
        await self.kept.serve(READ_RUN, self._read)
        await self.kept.serve(REPORT_RUN, self._report)
        await self.kept.serve_stream(TRAINING_MATERIAL, self._hand_over)
        scheduler = await broker.connect(Principal.SCHEDULER)

        async def place(_: object) -> JobPlacement:
            return JobPlacement(room=True)

        await scheduler.serve(PLACE_JOB, place)
        self.bus = await broker.connect(Principal.TRAINER)
        self.runner = Runner(self.bus, self.folder, Yielding(self.bus, None), 1, begin=self._begin)  # type: ignore[arg-type]

    async def _begin(self, folder: Path, threads: int) -> Life:
        self.begun += 1
        return self.lives.pop(0)

    async def _read(self, ref: RunRef) -> TrainingRun:
        if ref.run_id != self.run.run_id:
            raise RunNotFound
        return self.run

    async def _report(self, report: ReportRun) -> TrainingRun:
        if self.away and report.state.ended:
            self.away -= 1
            raise Unavailable("away")
        self.reports.append(report)
        if not self.run.state.ended:
            self.run = self.run.model_copy(update={"state": report.state})
        return self.run

    async def _hand_over(self, _: TrainingMaterial) -> AsyncIterator[MaterialChunk]:
        for one in self.material:
            yield MaterialChunk(exchanges=(one,))

    async def deliver(self, *lives: Life, run_id: str = "r1") -> ReportRun:
        """The last report of what those lives came to."""
        self.lives[:] = lives
        message = TrainingRequested(run_id=run_id)
        async with asyncio.timeout(LIMIT_S):
            await self.runner.run(Delivery(message, run_id, Position(epoch="e", sequence=1), 1, False))
        return self.reports[-1]


async def kept(bus: object, run: TrainingRun, spec: object, folder: Path, done: Done) -> Done:
    """As the installation would keep it."""
    return done.model_copy(update={"artefact": f"llama-{run.run_id}"})


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(running, "RETRY_S", (0.0,))
    monkeypatch.setattr(running, "lacking", lambda: None)
    monkeypatch.setattr(handing_in_encoders, "hand_in", kept)
    made = House(StateFolder(tmp_path))
    await made.open()
    return made


async def test_what_came_of_it_is_reported(house: House) -> None:
    told = await house.deliver(Life((at(10), at(20), DONE)))
    assert (told.state, told.artefact, told.metrics) == (RunState.DONE, "llama-r1", DONE.metrics)


async def test_a_process_that_dies_is_begun_again(house: House) -> None:
    told = await house.deliver(Life((at(10),), code=-9), Life((at(20),), code=1), Life((at(30), DONE)))
    assert told.state is RunState.DONE
    assert not house.lives


async def test_one_that_dies_again_and_again_at_the_same_place_fails(house: House) -> None:
    lives = [Life((at(10),), code=-9) for _ in range(5)]
    told = await house.deliver(*lives)
    assert (told.state, told.error) == (RunState.FAILED, "internal")
    assert told.detail is not None
    assert "errors.log" in told.detail
    assert house.begun == running.MOST_DEATHS


async def test_a_folder_that_another_process_has_is_waited_for(house: House) -> None:
    lives = [Life(code=UNDER_WAY) for _ in range(2 * running.MOST_DEATHS)]
    assert (await house.deliver(*lives, Life((DONE,)))).state is RunState.DONE


async def test_a_refusal_is_told_and_not_tried_again(house: House) -> None:
    told = await house.deliver(Life((Refused(code="model_does_not_fit", detail="it needs more"),), code=3))
    assert (told.state, told.error, told.detail) == (RunState.FAILED, "model_does_not_fit", "it needs more")


async def test_without_the_libraries_it_fails_with_the_remedy(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "lacking", lambda: "torch can't be found")
    told = await house.deliver()
    assert (told.state, told.error, told.detail) == (RunState.FAILED, "training_unavailable", "torch can't be found")


async def test_what_has_ended_or_is_not_known_is_not_begun(house: House) -> None:
    house.run = RUN.model_copy(update={"state": RunState.CANCELLED})
    house.reports.append(ReportRun(run_id="r1", state=RunState.CANCELLED))
    await house.deliver()
    await house.deliver(run_id="other")
    assert len(house.reports) == 1


async def begun(house: House, life: Life) -> asyncio.Task[ReportRun]:
    delivering = asyncio.create_task(house.deliver(life))
    await until(lambda: house.begun == 1)
    return delivering


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - a process that is begun sets no event
            await asyncio.sleep(0.01)


async def test_a_cancelled_run_ends_and_keeps_what_it_learnt(house: House) -> None:
    life = Life((at(10),), endless=True)
    delivering = await begun(house, life)
    await house.runner.cancel("another")
    await house.runner.cancel("r1")
    assert (await delivering).state is RunState.CANCELLED
    assert life.patience_s == running.STOPPING_PATIENCE_S


async def test_one_that_was_cancelled_while_nobody_was_there_ends_too(house: House) -> None:
    life = Life((at(10),), endless=True)
    house.run = RUN.model_copy(update={"state": RunState.RUNNING})
    delivering = await begun(house, life)
    house.run = RUN.model_copy(update={"state": RunState.CANCELLED})
    house.runner._current.kept_at = 0.0  # type: ignore[union-attr]
    house.runner._current.told = None  # type: ignore[union-attr]
    assert (await delivering).state is RunState.CANCELLED


async def test_a_stop_of_the_service_leaves_the_run_to_its_next_life(house: House) -> None:
    life = Life((at(10),), endless=True)
    delivering = await begun(house, life)
    stopping = asyncio.create_task(house.bus.drain(LIMIT_S))
    with pytest.raises(Unavailable):
        await delivering
    await stopping
    assert life.patience_s == running.STOPPING_PATIENCE_S
    assert all(not report.state.ended for report in house.reports)


async def test_persistence_that_is_away_loses_no_end(house: House) -> None:
    house.away = 2
    assert (await house.deliver(Life((DONE,)))).state is RunState.DONE
    assert house.away == 0
