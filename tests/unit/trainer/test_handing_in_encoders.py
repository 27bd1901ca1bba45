"""An encoder that was trained is kept under its own name, with how it was made; one that was refused isn't."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.artefacts.encoders import FILES, accepted, check_encoder, embedder_of
from libs.shared.artefacts.manifests import sign
from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.adapters import (
    ARTEFACTS,
    KEEP_ADAPTER,
    LIST_ADAPTERS,
    Adapters,
    KeepAdapter,
    Manifest,
    SignedManifest,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.training import MntpOptions, RunKind, RunState, TrainingRun
from libs.shared.errors import ModelBroken, StorageFull
from services.trainer import handing_in_encoders
from services.trainer.spec import RunSpec
from services.trainer.telling import Done
from tests.support import encoders

OPTIONS = MntpOptions(block_tokens=32, sentence_tokens=16)
RUN = TrainingRun(
    run_id="0001aaaa2222bbbb",
    kind=RunKind.MNTP,
    state=RunState.RUNNING,
    model="tiny",
    text="story.txt",
    seed=7,
    options=OPTIONS,
    created_at=datetime.now(UTC),
)
DONE = Done(artefact="encoder", metrics={"accepted": 1.0, "recall_gain": 0.1}, detail="accepted: better")


class House:
    """A persistence that signs, beside a run's folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "run"
        encoders.make(self.folder / "encoder")
        (self.folder / "encoder" / "embedder.json").unlink()
        (self.folder / "encoder" / "generation_config.json").write_text("{}")
        text = root / "story.txt"
        text.write_text("once")
        self.spec = RunSpec(model=self.folder / "encoder", text=text, seed=7, threads=1, options=OPTIONS)
        self.kept: list[Manifest] = []
        self.free = 10**9

    async def open(self) -> None:
        broker = MemoryBroker()
        persistence = await broker.connect(Principal.PERSISTENCE)
        await persistence.serve(KEEP_ADAPTER, self._keep)
        await persistence.serve(LIST_ADAPTERS, self._list)
        self.bus: MemoryBus = await broker.connect(Principal.TRAINER)
        self.store = persistence.objects(ARTEFACTS)

    async def hand_in(self, done: Done = DONE) -> Done:
        return await handing_in_encoders.hand_in(self.bus, RUN, self.spec, self.folder, done)

    async def _keep(self, asked: KeepAdapter) -> SignedManifest:
        self.kept.append(asked.manifest)
        return sign(b"s" * 32, asked.manifest)

    async def _list(self, _: Empty) -> Adapters:
        return Adapters(adapters=(), key="", free_bytes=self.free)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.open()
    yield made
    await made.bus.drain(1)


async def test_it_is_kept_with_its_files_alone_and_says_how_it_was_made(house: House) -> None:
    done = await house.hand_in()
    (manifest,) = house.kept
    assert done.artefact == manifest.name == "tiny-2222bbbb"
    assert (manifest.kind, manifest.base.name, manifest.owners) == ("encoder", "tiny", None)
    check_encoder(manifest)
    assert accepted(manifest.metrics)
    assert (manifest.metrics["decision"], manifest.metrics["recall_gain"]) == ("accepted: better", 0.1)
    about = {name: manifest.configuration[name] for name in ("run", "seed", "dimensions", "max_tokens", "steps")}
    assert about == {"run": RUN.run_id, "seed": 7, "dimensions": encoders.WIDTH, "max_tokens": 32, "steps": 1000}
    told = json.loads((house.folder / "encoder" / "embedder.json").read_text())
    assert embedder_of(manifest) == f"tiny-2222bbbb@{told['version']}"
    assert (told["pooling"], told["normalise"], told["max_tokens"]) == ("mean", True, 32)
    for file in manifest.files:
        body = b"".join([part async for part in house.store.get(file.sha256)])
        assert body == (house.folder / "encoder" / file.name).read_bytes()


async def test_the_version_is_the_same_for_the_same_files_and_another_for_others(house: House) -> None:
    await house.hand_in()
    await house.hand_in()
    weights = house.folder / "encoder" / "model.safetensors"
    encoders.make(house.folder / "other", seed=1)
    weights.write_bytes((house.folder / "other" / "model.safetensors").read_bytes())
    await house.hand_in()
    one, again, other = (manifest.configuration["version"] for manifest in house.kept)
    assert one == again != other


async def test_one_that_its_evaluation_refused_is_not_kept(house: House) -> None:
    refused = DONE.model_copy(update={"metrics": {"accepted": 0.0}})
    assert (await house.hand_in(refused)).artefact is None
    assert house.kept == []


async def test_one_of_which_nothing_could_be_told_is_kept_and_has_no_accepting_verdict(house: House) -> None:
    await house.hand_in(Done(artefact="encoder", metrics={"mntp_loss_last": 2.0}))
    assert not accepted(house.kept[0].metrics)


async def test_without_room_it_is_refused_and_what_was_trained_stays(house: House) -> None:
    house.free = 10
    with pytest.raises(StorageFull):
        await house.hand_in()
    assert {path.name for path in (house.folder / "encoder").iterdir()} >= set(FILES)


async def test_one_that_is_larger_than_a_file_of_the_store_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_in_encoders, "MOST_FILE_BYTES", 100)
    with pytest.raises(StorageFull, match="mongars embedders add"):
        await house.hand_in()


async def test_one_without_a_tokenizer_s_file_is_refused(house: House) -> None:
    (house.folder / "encoder" / "tokenizer.json").unlink()
    with pytest.raises(ModelBroken, match=r"tokenizer\.json"):
        await house.hand_in()


def test_a_long_model_s_name_leaves_room_for_the_run() -> None:
    assert len(handing_in_encoders.name_of("m" * 128, RUN.run_id)) <= 64
