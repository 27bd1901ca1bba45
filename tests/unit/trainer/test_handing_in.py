"""What was accepted is recorded before it is kept, once, whatever is killed; what is left of a run quotes nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.shared.artefacts.manifests import sign
from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Delivery
from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.adapters import (
    KEEP_ADAPTER,
    LIST_ADAPTERS,
    Adapters,
    KeepAdapter,
    KeptAdapter,
    Manifest,
    SignedManifest,
)
from libs.shared.contracts.base import Empty, Principal, Rpc
from libs.shared.contracts.common import Position
from libs.shared.contracts.material import (
    LIST_TRAINED,
    RECORD_ADAPTER,
    RECORD_DATASET,
    TRAINING_MATERIAL,
    DatasetRecorded,
    ListTrained,
    MaterialChunk,
    RecordAdapter,
    RecordDataset,
    Taint,
    Trained,
    TrainedAdapter,
    TrainingMaterial,
)
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement, PlaceJob
from libs.shared.contracts.training import (
    READ_RUN,
    REPORT_RUN,
    AdapterWanted,
    ReportRun,
    RunKind,
    RunRef,
    RunState,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import AdapterExists, MaterialWithdrawn
from libs.shared.layout import StateFolder
from services.trainer import gathering, handing_in, running
from services.trainer.curation import shelf
from services.trainer.running import Runner
from services.trainer.spec import AdapterSpec, RunSpec
from services.trainer.telling import Done
from tests.unit.trainer.test_gathering import given

AT = datetime(2026, 5, 4, tzinfo=UTC)
WANTED = AdapterWanted(name="ada")
RUN = TrainingRun(
    run_id="r1", kind=RunKind.ADAPTER, state=RunState.RUNNING, model="tiny", seed=7, adapter=WANTED, created_at=AT
)
DONE = Done(artefact="adapter", metrics={"held_out_gain": 0.5}, detail="accepted: better")


@dataclass
class House:
    """A persistence with its records, beside a run's folder that was trained in."""

    root: Path
    state: RunState = RunState.RUNNING
    lives: int = 0
    reports: list[ReportRun] = field(default_factory=list)
    taints: tuple[Taint, ...] = ()
    handed: list[str] = field(default_factory=list)
    kept: list[Manifest] = field(default_factory=list)
    recorded: tuple[str, ...] | None = None
    bus: MemoryBus = field(init=False)
    spec: RunSpec = field(init=False)

    @property
    def folder(self) -> Path:
        """Of the run."""
        return StateFolder(self.root).training_runs / "r1"

    async def open(self) -> None:
        self.folder.mkdir(parents=True)
        broker = MemoryBroker()
        persistence, self.bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.TRAINER)
        await persistence.serve_stream(TRAINING_MATERIAL, self._hand_over)
        await persistence.serve(RECORD_ADAPTER, self._record)
        await persistence.serve(KEEP_ADAPTER, self._keep)
        await persistence.serve(LIST_ADAPTERS, self._list)
        await persistence.serve(LIST_TRAINED, self._trained)
        self.material = given(12)
        dataset = gathering.chosen_of([gathering.exchange(one) for one in self.material])
        where = shelf.keep(dataset, self.folder / "dataset")
        about = AdapterSpec(base="tiny", dataset=where, options=WANTED.options)
        self.spec = RunSpec(model=self.folder / "tiny", seed=7, threads=1, adapter=about)
        self.put_what_was_trained()
        await persistence.serve(READ_RUN, self._read)
        await persistence.serve(REPORT_RUN, self._report)
        await persistence.serve(RECORD_DATASET, self._draw)
        await (await broker.connect(Principal.SCHEDULER)).serve(PLACE_JOB, self._place)

    def put_what_was_trained(self) -> None:
        """Files as the run's process leaves them."""
        (self.folder / "adapter").mkdir(exist_ok=True)
        (self.folder / "sft").mkdir(exist_ok=True)
        for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "sft/checkpoint.safetensors"):
            (self.folder / name).write_bytes(b"{}")
        (self.folder / "sft" / "evaluation.json").write_text("{}")

    async def _read(self, _: RunRef) -> TrainingRun:
        return RUN.model_copy(update={"state": self.state})

    async def _report(self, report: ReportRun) -> TrainingRun:
        self.reports.append(report)
        return RUN

    async def _draw(self, asked: RecordDataset) -> DatasetRecorded:
        return DatasetRecorded(dataset_id=asked.dataset_id, owners=("u1",), shared=False)

    async def _place(self, _: PlaceJob) -> JobPlacement:
        return JobPlacement(room=True)

    async def _hand_over(self, _: TrainingMaterial) -> AsyncIterator[MaterialChunk]:
        yield MaterialChunk(exchanges=tuple(self.material))

    def _told(self) -> TrainedAdapter:
        assert self.recorded is not None
        return TrainedAdapter(
            adapter="ada", datasets=self.recorded, owners=("u1",), shared=False, taints=self.taints, recorded_at=AT
        )

    async def _record(self, asked: RecordAdapter) -> TrainedAdapter:
        self.handed.append("recorded")
        self.recorded = asked.datasets
        return self._told()

    async def _keep(self, asked: KeepAdapter) -> SignedManifest:
        self.handed.append("kept")
        self.kept.append(asked.manifest)
        return sign(b"s" * 32, asked.manifest)

    async def _list(self, _: Empty) -> Adapters:
        found = [KeptAdapter(name=one.name, signed=SignedManifest(body=""), manifest=one) for one in self.kept]
        return Adapters(adapters=tuple(found), key="", free_bytes=10**9)

    async def _trained(self, _: ListTrained) -> Trained:
        return Trained(adapters=(self._told(),) if self.recorded is not None else ())

    async def hand_in(self) -> Done:
        return await handing_in.hand_in(self.bus, RUN, self.spec, self.folder, DONE)


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(running, "lacking", lambda: None)
    made = House(tmp_path)
    await made.open()
    return made


async def test_it_is_recorded_first_and_says_how_it_was_made(house: House) -> None:
    assert await handing_in.already_kept(house.bus, RUN) is None
    done = await house.hand_in()
    assert house.handed == ["recorded", "kept"]
    assert house.recorded == ("r1",)
    (manifest,) = house.kept
    assert (manifest.name, manifest.base.name, manifest.owners) == ("ada", "tiny", ("u1",))
    assert manifest.configuration["seed"] == 7
    assert manifest.metrics == {"held_out_gain": 0.5, "decision": "accepted: better"}
    assert manifest.data_sha256 == shelf.read(house.spec.adapter.dataset).card.data  # type: ignore[union-attr]
    assert await handing_in.already_kept(house.bus, RUN) == done, "its next life ends with the same"
    assert await handing_in.already_kept(house.bus, RUN.model_copy(update={"run_id": "r2"})) is None


async def test_what_was_withdrawn_meanwhile_is_put_nowhere(house: House) -> None:
    house.material.pop()
    with pytest.raises(MaterialWithdrawn):
        await house.hand_in()
    assert house.handed == [], "not even its name is used up"


async def test_what_is_withdrawn_while_it_is_recorded_is_put_nowhere(house: House) -> None:
    house.taints = (Taint(cause="forgotten", exchanges=1, at=AT),)
    with pytest.raises(MaterialWithdrawn):
        await house.hand_in()
    assert house.handed == ["recorded"]


async def test_a_name_is_taken_by_others_and_not_by_the_run_itself(house: House) -> None:
    await handing_in.refuse_taken(house.bus, "ada", "r1")
    await house.hand_in()
    await handing_in.refuse_taken(house.bus, "ada", "r1")
    for run_id in (None, "r2"):
        with pytest.raises(AdapterExists, match="such as ada-2"):
            await handing_in.refuse_taken(house.bus, "ada", run_id)
    house.recorded = None  # brought from a folder, and trained on nobody's words
    with pytest.raises(AdapterExists):
        await handing_in.refuse_taken(house.bus, "ada", "r1")


def test_a_run_that_is_over_leaves_its_card_and_its_figures(house: House) -> None:
    handing_in.clear(house.folder)
    left = {path.name for path in house.folder.rglob("*") if path.is_file()}
    assert left == {"card.json", "card.md", "evaluation.json"}
    handing_in.clear(house.folder)
    handing_in.clear(house.folder / "gone")


class Killed(BaseException):
    """As a service that ends in the middle."""


@dataclass
class Life:
    """A run's process that trained, and how its evaluation decided."""

    house: House
    artefact: str | None
    pid: int = 1

    def pause(self) -> None: ...

    def go_on(self) -> None: ...

    async def words(self) -> AsyncIterator[Done]:
        self.house.lives += 1
        yield DONE.model_copy(update={"artefact": self.artefact})

    async def ended(self) -> int:
        return 0

    async def end(self, patience_s: float) -> None: ...


async def ends(house: House, artefact: str | None = "adapter") -> ReportRun:
    """What is reported when the run is delivered, taken up wherever an earlier life left it."""

    async def begin(folder: Path, threads: int) -> Life:
        house.put_what_was_trained()
        return Life(house, artefact)

    runner = Runner(house.bus, StateFolder(house.root), Yielding(house.bus, None), 1, begin=begin)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await runner.run(Delivery(TrainingRequested(run_id="r1"), "r1", Position(epoch="e", sequence=1), 1, False))
    return house.reports[-1]


async def check_a_run_ends_the_same(house: House, monkeypatch: pytest.MonkeyPatch, dies_before: str) -> None:
    """However often its service is killed before it says ``dies_before`` to persistence."""
    request, deaths = house.bus.request, 0

    async def dying(contract: Rpc[Any, Any], message: Any, **how: Any) -> Any:
        nonlocal deaths
        about_to_end = contract is not REPORT_RUN or message.state.ended
        if contract.subject.rpartition(".")[2] == dies_before and about_to_end and deaths < 2:
            deaths += 1
            raise Killed
        return await request(contract, message, **how)

    monkeypatch.setattr(house.bus, "request", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            await ends(house)
    report = await ends(house)
    assert (report.state, report.artefact, report.detail) == (RunState.DONE, "ada", "accepted: better")
    assert report.metrics == DONE.metrics
    assert len({manifest.name for manifest in house.kept}) == 1
    assert house.recorded == ("r1",)
    assert not list(house.folder.rglob("examples.jsonl"))


@pytest.mark.parametrize("dies_before", ["record_dataset", "record_adapter", "keep_adapter", "report_run"])
async def test_a_run_whose_service_is_killed_ends_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    await check_a_run_ends_the_same(house, monkeypatch, dies_before)


async def test_one_that_its_evaluation_refused_is_done_and_nothing_is_kept(house: House) -> None:
    report = await ends(house, artefact=None)
    assert (report.state, report.artefact, report.error) == (RunState.DONE, None, None)
    assert report.metrics == DONE.metrics
    assert house.handed == []
    assert not list(house.folder.rglob("examples.jsonl"))


async def test_one_whose_name_was_taken_meanwhile_is_not_trained(house: House) -> None:
    house.recorded = ("another",)
    report = await ends(house)
    assert (report.state, report.error) == (RunState.FAILED, "adapter_exists")
    assert house.lives == 0


async def test_what_a_service_that_was_killed_left_of_an_ended_run_goes(house: House) -> None:
    house.state = RunState.CANCELLED
    house.reports.append(ReportRun(run_id="r1", state=RunState.CANCELLED))
    assert list(house.folder.rglob("examples.jsonl"))
    await ends(house)
    assert house.lives == 0
    assert not list(house.folder.rglob("examples.jsonl"))
