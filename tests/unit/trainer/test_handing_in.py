"""What was accepted is recorded before it is kept, once; and what is left of a run quotes nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.artefacts.manifests import sign
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
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.material import (
    LIST_TRAINED,
    RECORD_ADAPTER,
    TRAINING_MATERIAL,
    ListTrained,
    MaterialChunk,
    RecordAdapter,
    Taint,
    Trained,
    TrainedAdapter,
    TrainingMaterial,
)
from libs.shared.contracts.training import AdapterWanted, RunKind, RunState, TrainingRun
from libs.shared.errors import AdapterExists, MaterialWithdrawn
from services.trainer import gathering, handing_in
from services.trainer.curation import shelf
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

    folder: Path
    taints: tuple[Taint, ...] = ()
    handed: list[str] = field(default_factory=list)
    kept: list[Manifest] = field(default_factory=list)
    recorded: tuple[str, ...] | None = None
    bus: MemoryBus = field(init=False)
    spec: RunSpec = field(init=False)

    async def open(self) -> None:
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
        (self.folder / "adapter").mkdir()
        (self.folder / "sft").mkdir()
        for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "sft/checkpoint.safetensors"):
            (self.folder / name).write_bytes(b"{}")
        (self.folder / "sft" / "evaluation.json").write_text("{}")

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
async def house(tmp_path: Path) -> House:
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
        with pytest.raises(AdapterExists):
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
