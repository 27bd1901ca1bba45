"""The paradoxical phase says what it prepared, and trains only where the policy permits it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.dreaming import PREPARE_AHEAD, PrepareAhead, PreparedAhead
from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings, SettingsRead
from libs.shared.contracts.material import COUNT_MATERIAL, CountMaterial, MaterialCounted
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.training import (
    LIST_RUNS,
    START_RUN,
    AdapterWanted,
    ListRuns,
    RunKind,
    RunState,
    StartRun,
    TrainingRun,
    TrainingRuns,
)
from libs.shared.errors import NothingToTrainOn
from services.optimizer.phases import training
from services.optimizer.phases.base import PhaseReport
from services.optimizer.phases.paradoxical import propose
from services.optimizer.phases.training import worth_training
from tests.unit.optimizer.nights import Work

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MANY = MaterialCounted(exchanges=200, since_then=100, conversations=20)
DONE = TrainingRun(
    run_id="r1",
    kind=RunKind.ADAPTER,
    state=RunState.DONE,
    model="small",
    seed=3,
    adapter=AdapterWanted(name="ours", owners=("u1",), rated_up=True),
    created_at=datetime(2026, 11, 1, tzinfo=UTC),
)


class House:
    """Cognition, persistence and the trainer, in small."""

    def __init__(self, settings: RuntimeSettings, refuses: bool = False) -> None:
        self.settings = settings
        self.refuses = refuses
        self.started: list[StartRun] = []
        self.counted: list[CountMaterial] = []

    async def prepare(self, _: PrepareAhead) -> PreparedAhead:
        return PreparedAhead(users=2, questions=5, prepared=4, drafted=3, drafts_given=1, asked=20, foreseen=15)

    async def runs(self, _: ListRuns) -> TrainingRuns:
        return TrainingRuns(runs=(DONE,))

    async def count(self, request: CountMaterial) -> MaterialCounted:
        self.counted.append(request)
        return MANY

    async def read(self, _: ReadSettings) -> SettingsRead:
        return SettingsRead(settings=self.settings)

    async def start(self, request: StartRun) -> TrainingRun:
        if self.refuses:
            raise NothingToTrainOn("too little")
        self.started.append(request)
        return DONE.model_copy(update={"run_id": "r2", "state": RunState.QUEUED})


async def night(house: House, folder: Path) -> PhaseReport:
    broker = MemoryBroker()
    wanted: Sequence[tuple[Principal, Any, Any]] = (
        (Principal.COGNITION, PREPARE_AHEAD, house.prepare),
        (Principal.PERSISTENCE, LIST_RUNS, house.runs),
        (Principal.PERSISTENCE, COUNT_MATERIAL, house.count),
        (Principal.PERSISTENCE, READ_SETTINGS, house.read),
        (Principal.TRAINER, START_RUN, house.start),
    )
    buses = {one: await broker.connect(one) for one in {principal for principal, *_ in wanted} | {Principal.OPTIMIZER}}
    try:
        for principal, contract, handler in wanted:
            await buses[principal].serve(contract, handler)
        return await propose(Work(buses[Principal.OPTIMIZER], folder))
    finally:
        for bus in buses.values():
            await bus.drain(1)


async def check_nothing_is_trained_without_leave(folder: Path) -> None:
    house = House(RuntimeSettings())
    report = await night(house, folder)
    assert house.started == []
    assert "100 of 200 answers" in report.done
    assert "night_training" in report.done


async def test_nothing_is_trained_without_leave(tmp_path: Path) -> None:
    await check_nothing_is_trained_without_leave(tmp_path)


async def test_the_check_notices_that_the_policy_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Permitting(RuntimeSettings):
        night_training: bool = True

    async def permitting(self: House, _: ReadSettings) -> SettingsRead:
        return SettingsRead(settings=Permitting())

    monkeypatch.setattr(House, "read", permitting)
    with pytest.raises(AssertionError):
        await check_nothing_is_trained_without_leave(tmp_path)


async def test_with_leave_the_last_adapter_is_trained_anew_under_another_name(tmp_path: Path) -> None:
    house = House(RuntimeSettings(night_training=True))
    report = await night(house, tmp_path)
    (run,) = house.started
    assert run.adapter is not None
    assert run.adapter.name.startswith("ours-20")
    assert (run.adapter.owners, run.adapter.rated_up, run.model, run.seed) == (("u1",), True, "small", 3)
    assert house.counted == [CountMaterial(since=DONE.created_at)]
    assert "run r2 trains ours-20" in report.done


async def test_a_refusal_of_the_trainer_is_told(tmp_path: Path) -> None:
    report = await night(House(RuntimeSettings(night_training=True), refuses=True), tmp_path)
    assert "nothing_to_train_on" in report.done


async def test_it_tells_what_was_prepared_and_how_often_it_was_right(tmp_path: Path) -> None:
    report = await night(House(RuntimeSettings()), tmp_path)
    assert report.done.startswith("4 of 5 expected questions prepared for 2 people, 3 answers drafted (1 of those ")
    drafts = {"drafted": 3.0, "drafts_given": 1.0}
    assert report.figures == {"expected": 5.0, "prepared": 4.0, "asked": 20.0, "foreseen_share": 0.75} | drafts
    assert report.changes == ()


@pytest.mark.parametrize(
    ("last", "counted", "said"),
    [
        (None, MANY, "no adapter was trained here yet"),
        (DONE.model_copy(update={"state": RunState.RUNNING}), MANY, "under way"),
        (DONE, MaterialCounted(exchanges=100, since_then=49, conversations=5), "too few"),
        (DONE, MaterialCounted(exchanges=1000, since_then=100, conversations=5), "too few"),
    ],
)
def test_what_is_not_worth_it_says_why(last: TrainingRun | None, counted: MaterialCounted, said: str) -> None:
    found = worth_training(last, counted, NOW)
    assert found.run is None
    assert said in found.reason
    assert training.LEAST_NEW == 50
