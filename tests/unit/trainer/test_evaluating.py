"""What is measured anew is found by name or run, fetched as it was signed, and asked about what it never learnt."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.adapters import (
    LIST_ADAPTERS,
    READ_ADAPTER_FILE,
    AdapterPiece,
    Adapters,
    ArtefactFile,
    BaseModelOf,
    KeptAdapter,
    Manifest,
    ReadAdapterFile,
    SignedManifest,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.material import (
    LIST_TRAINED,
    RECORD_DATASET,
    TRAINING_MATERIAL,
    Chosen,
    DatasetRecorded,
    ListTrained,
    MaterialChunk,
    RecordDataset,
    Trained,
    TrainedAdapter,
    TrainingMaterial,
)
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement, PlaceJob, Placement
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.contracts.training import (
    READ_RUN,
    AdapterWanted,
    Evaluated,
    RunKind,
    RunRef,
    RunState,
    StartRun,
    TrainingRun,
)
from libs.shared.errors import AdapterNotAllowed, AdapterNotFound, ArtefactCorrupt, NoModel, Preempted, RunNotFound
from libs.shared.layout import StateFolder
from services.trainer import evaluating, examining, gathering
from services.trainer.evaluation import exam_vectors
from tests.unit.trainer.test_gathering import given

AT = datetime(2026, 5, 4, tzinfo=UTC)
WEIGHTS = b"weights"
FILE = ArtefactFile(name="adapter_model.safetensors", size=len(WEIGHTS), sha256=hashlib.sha256(WEIGHTS).hexdigest())
MANIFEST = Manifest(name="ada", base=BaseModelOf(name="served"), configuration={"run": "r1"}, files=(FILE,), created=AT)
ENCODER = MANIFEST.model_copy(
    update={"name": "tiny-r2", "kind": "encoder", "base": BaseModelOf(name="tiny"), "configuration": {"run": "r2"}}
)


PLACED = Placement(
    node_id="here",
    replica="one",
    model=ServedModel(name="granite", kind="embed", backend="onnx", context_tokens=512),
    policy="any",
)


def run_of(run_id: str, kind: RunKind, artefact: str | None) -> TrainingRun:
    return TrainingRun(
        run_id=run_id, kind=kind, state=RunState.DONE, model="tiny", seed=0, artefact=artefact, created_at=AT
    )


@dataclass
class House:
    """A persistence with one adapter, an encoder or not, and two runs; and an embedder that is interrupted once."""

    folder: StateFolder
    sent: bytes = WEIGHTS
    embeds: bool = True
    shared: bool = False
    everybody: bool = False
    encoder_kept: bool = False
    interrupted: int = 1
    asked: list[TrainingMaterial] = field(default_factory=list)
    texts: list[EmbedRequest] = field(default_factory=list)
    bus: MemoryBus = field(init=False)

    async def open(self) -> None:
        broker = MemoryBroker()
        kept, self.bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.TRAINER)
        await kept.serve(LIST_ADAPTERS, self._adapters)
        await kept.serve(READ_RUN, self._run)
        await kept.serve(LIST_TRAINED, self._trained)
        await kept.serve(RECORD_DATASET, self._record)
        await kept.serve_stream(READ_ADAPTER_FILE, self._file)
        await kept.serve_stream(TRAINING_MATERIAL, self._hand_over)
        await (await broker.connect(Principal.SCHEDULER)).serve(PLACE_JOB, self._place)
        await (await broker.connect(Principal.INFERENCE)).serve(EMBED, self._embed, replica="one")

    async def _adapters(self, _: Empty) -> Adapters:
        manifests = (MANIFEST, ENCODER) if self.encoder_kept else (MANIFEST,)
        kept = (KeptAdapter(name=one.name, signed=SignedManifest(body=""), manifest=one) for one in manifests)
        return Adapters(adapters=tuple(kept), key="")

    async def _run(self, ref: RunRef) -> TrainingRun:
        known = {"r1": run_of("r1", RunKind.ADAPTER, "ada"), "r2": run_of("r2", RunKind.MNTP, None)}
        if ref.run_id not in known:
            raise RunNotFound
        return known[ref.run_id]

    async def _trained(self, asked: ListTrained) -> Trained:
        name, of = asked.adapters[0], {"ada": "r1", "tiny-r2": "r2"}
        told = TrainedAdapter(adapter=name, datasets=(of[name],), owners=("ada",), shared=False, recorded_at=AT)
        return Trained(adapters=(told,))

    async def _record(self, asked: RecordDataset) -> DatasetRecorded:
        return DatasetRecorded(
            dataset_id=asked.dataset_id, owners=("ada",), shared=self.shared, everybody=self.everybody
        )

    async def _file(self, _: ReadAdapterFile) -> AsyncIterator[AdapterPiece]:
        yield AdapterPiece(data=self.sent)

    async def _hand_over(self, asked: TrainingMaterial) -> AsyncIterator[MaterialChunk]:
        self.asked.append(asked)
        yield MaterialChunk(exchanges=tuple(given(12)))

    async def _place(self, job: PlaceJob) -> JobPlacement:
        if not self.embeds:
            raise NoModel("nothing embeds here")
        return JobPlacement(placement=PLACED, room=True)

    async def _embed(self, asked: EmbedRequest) -> Embeddings:
        self.texts.append(asked)
        if self.interrupted:
            self.interrupted -= 1
            raise Preempted("somebody waits")
        vectors = tuple(np.full(4, len(text), dtype="<f4").tobytes() for text in asked.texts)
        return Embeddings(embedder="granite@1", dimensions=4, vectors=vectors, prompt_tokens=1)


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(examining, "RETRY_S", 0.0)
    made = House(StateFolder(tmp_path))
    await made.open()
    return made


def wanted(subject: str) -> StartRun:
    return StartRun(kind=RunKind.EVALUATE, evaluate=Evaluated(subject=subject))


async def test_an_adapter_is_found_by_its_name_and_by_its_run_and_an_encoder_by_its_run(house: House) -> None:
    for subject in ("ada", "r1"):
        found = await evaluating.resolved(house.bus, house.folder, wanted(subject))
        assert (found.model, found.evaluate) == ("tiny", Evaluated(subject="ada"))
    with pytest.raises(AdapterNotFound):
        await evaluating.resolved(house.bus, house.folder, wanted("r2"))
    (house.folder.training_runs / "r2" / "encoder").mkdir(parents=True)
    found = await evaluating.resolved(house.bus, house.folder, wanted("r2"))
    assert (found.model, found.evaluate) == ("tiny", Evaluated(subject="r2", run="r2"))
    with pytest.raises(AdapterNotFound, match="nobody is no adapter or encoder that is kept"):
        await evaluating.resolved(house.bus, house.folder, wanted("nobody"))


@pytest.mark.parametrize(
    ("about", "dataset"), [(Evaluated(subject="ada"), "r1"), (Evaluated(subject="x", run="r2"), "r2")]
)
async def test_what_trained_it_is_not_asked_for(house: House, about: Evaluated, dataset: str) -> None:
    found, lacking = await evaluating.unseen(house.bus, about, "tiny")
    assert house.asked == [TrainingMaterial(unseen_by=(dataset,))]
    assert found is not None
    assert not lacking


@pytest.mark.parametrize("kept", [True, False])
async def test_an_encoder_is_measured_as_it_is_kept_or_else_as_its_run_left_it(house: House, kept: bool) -> None:
    house.encoder_kept = kept
    left = house.folder.training_runs / "r2" / "encoder"
    left.mkdir(parents=True)
    found = await evaluating.resolved(house.bus, house.folder, wanted("tiny-r2" if kept else "r2"))
    assert found.evaluate is not None
    assert (found.model, found.evaluate.run) == ("tiny", "r2")
    run = run_of("r3", RunKind.EVALUATE, None).model_copy(update={"evaluate": found.evaluate})
    about, exam = await evaluating.gathered(house.bus, house.folder, run)
    assert about.encoder == (house.folder.training_runs / "r3" / "subject" if kept else left)
    assert exam is not None


async def test_files_come_as_they_were_signed_or_not_at_all(house: House, tmp_path: Path) -> None:
    folder = await evaluating.fetch(house.bus, "ada", tmp_path / "subject")
    assert (folder / FILE.name).read_bytes() == WEIGHTS
    house.sent = b"another"
    with pytest.raises(ArtefactCorrupt):
        await evaluating.fetch(house.bus, "ada", tmp_path / "subject")


async def test_the_embedder_in_use_is_asked_while_nobody_waits_and_the_exam_is_kept(
    house: House, tmp_path: Path
) -> None:
    dataset, lacking = await gathering.measurable(house.bus, Chosen.ALLOWED)
    assert dataset is not None
    folder = await examining.prepared(house.bus, tmp_path / "exam", dataset.examples, lacking, None)
    exam, vectors = exam_vectors.read(folder)
    assert (exam.in_use, len(exam.questions.questions)) == ("granite@1", 24)
    assert vectors is not None
    assert vectors["queries"][:, 0].tolist() == [len(text) for text in exam.texts["queries"]]
    assert all(request.background for request in house.texts)
    assert {request.purpose for request in house.texts} == {"query", "passage"}
    asked = len(house.texts)
    assert await examining.prepared(house.bus, folder, dataset.examples, "", None) == folder
    assert len(house.texts) == asked, "what an earlier life of the run left is not asked for again"
    house.embeds = False
    alone = await examining.prepared(house.bus, tmp_path / "alone", dataset.examples, "", None)
    assert exam_vectors.read(alone)[0].in_use is None


@pytest.mark.parametrize(("shared", "everybody"), [(False, False), (True, False), (False, True)])
async def test_words_go_into_an_encoder_only_where_all_share_or_there_is_nobody_else(
    house: House, tmp_path: Path, shared: bool, everybody: bool
) -> None:
    house.shared, house.everybody = shared, everybody
    drawn = gathering.drawn(house.bus, "r9", AdapterWanted(name="r9"), tmp_path / "dataset", for_all=True)
    if shared or everybody:
        assert (await drawn).is_dir()
        return
    with pytest.raises(AdapterNotAllowed, match="mongars consents share on"):
        await drawn
    assert not (tmp_path / "dataset").exists()
