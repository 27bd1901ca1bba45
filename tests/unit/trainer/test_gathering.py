"""What an adapter is trained on is read, kept and recorded before anything learns from it, and refused with why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts import material
from libs.shared.contracts.base import Principal
from libs.shared.contracts.material import (
    RECORD_DATASET,
    TRAINING_MATERIAL,
    DatasetRecorded,
    MaterialChunk,
    RecordDataset,
    TrainingMaterial,
)
from libs.shared.contracts.ratings import Thumb
from libs.shared.contracts.training import AdapterWanted
from libs.shared.errors import MaterialWithdrawn, NothingToTrainOn
from services.trainer import gathering
from services.trainer.curation import shelf
from tests.support.exchanges import exchanges

WANTED = AdapterWanted(name="ada", owners=("ada", "bea"), rated_up=True)


def given(count: int) -> list[material.Exchange]:
    """Exchanges of so many conversations, two of each."""
    return [
        material.Exchange(
            turn_id=one.turn_id,
            conversation_id=one.conversation_id,
            owner=one.owner_id,
            owner_name="Ana",
            version=3,
            question=one.question,
            answer=one.answer,
            at=one.at,
            rating=Thumb.UP,
        )
        for one in exchanges(count)
    ]


@dataclass
class House:
    """A persistence that hands out ``given``, and takes no record while ``withdraws`` is left."""

    given: list[material.Exchange]
    withdraws: int = 0
    asked: list[TrainingMaterial] = field(default_factory=list)
    recorded: list[RecordDataset] = field(default_factory=list)
    bus: MemoryBus = field(init=False)

    async def open(self) -> None:
        broker = MemoryBroker()
        persistence, self.bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.TRAINER)
        await persistence.serve_stream(TRAINING_MATERIAL, self._hand_over)
        await persistence.serve(RECORD_DATASET, self._record)

    async def _hand_over(self, asked: TrainingMaterial) -> AsyncIterator[MaterialChunk]:
        self.asked.append(asked)
        for one in self.given:
            yield MaterialChunk(exchanges=(one,))

    async def _record(self, asked: RecordDataset) -> DatasetRecorded:
        if self.withdraws:
            self.withdraws -= 1
            self.given = self.given[2:]
            raise MaterialWithdrawn("gone", turn_ids=[])
        self.recorded.append(asked)
        return DatasetRecorded(dataset_id=asked.dataset_id, owners=("ada", "bea"), shared=False)


@pytest.fixture
async def house() -> House:
    made = House(given(12))
    await made.open()
    return made


async def test_what_is_kept_is_what_is_recorded_and_for_its_owner_alone(house: House, tmp_path: Path) -> None:
    folder = await gathering.drawn(house.bus, "r1", WANTED, tmp_path / "dataset")
    dataset = shelf.read(folder)
    assert [(one.turn_id, one.version) for one in house.recorded[0].members] == dataset.members
    assert house.recorded[0].dataset_id == "r1"
    assert house.asked[0] == TrainingMaterial(owners=WANTED.owners, chosen=material.Chosen.RATED_UP)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_run_that_is_taken_up_again_has_the_dataset_that_it_began_with(house: House, tmp_path: Path) -> None:
    begun = await gathering.drawn(house.bus, "r1", WANTED, tmp_path)
    house.given += given(20)
    assert await gathering.drawn(house.bus, "r1", WANTED, tmp_path) == begun
    assert house.recorded[0] == house.recorded[1]


async def test_who_withdrew_between_reading_and_record_is_in_no_dataset(house: House, tmp_path: Path) -> None:
    first = house.given[0].conversation_id
    house.withdraws = 1
    dataset = shelf.read(await gathering.drawn(house.bus, "r1", WANTED, tmp_path / "dataset"))
    assert first not in dataset.sources
    assert len(list((tmp_path / "dataset").iterdir())) == 1, "what was withdrawn lies nowhere"


async def test_minds_that_change_all_the_time_end_the_run(house: House, tmp_path: Path) -> None:
    house.given, house.withdraws = given(40), 100
    with pytest.raises(MaterialWithdrawn):
        await gathering.drawn(house.bus, "r1", WANTED, tmp_path / "dataset")
    assert 100 - house.withdraws == gathering.MOST_READINGS
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("how", ["forgotten", "edited"])
async def test_what_changed_while_it_was_trained_is_refused(house: House, tmp_path: Path, how: str) -> None:
    await gathering.drawn(house.bus, "r1", WANTED, tmp_path)
    first = house.given.pop(0)
    if how == "edited":
        house.given.append(first.model_copy(update={"version": 4}))
    with pytest.raises(MaterialWithdrawn):
        await gathering.drawn(house.bus, "r1", WANTED, tmp_path)


@pytest.mark.parametrize(
    ("count", "rating", "said"),
    [
        (0, None, "nothing that was said may be trained on"),
        (12, Thumb.DOWN, r"none is left to train on.*left out: disliked 24"),
        (4, None, "4 conversations are too few: 10 are needed"),
    ],
)
async def test_too_little_is_refused_with_why(house: House, count: int, rating: Thumb | None, said: str) -> None:
    house.given = [one.model_copy(update={"rating": rating}) for one in given(count)]
    with pytest.raises(NothingToTrainOn, match=said):
        await gathering.curated(house.bus, WANTED)


async def test_what_its_owner_is_called_is_taken_out(house: House, tmp_path: Path) -> None:
    house.given = [one.model_copy(update={"answer": f"{one.answer} So said Ana."}) for one in house.given]
    folder = await gathering.drawn(house.bus, "r1", WANTED, tmp_path)
    lines = (folder / shelf.EXAMPLES_FILE).read_text().splitlines()
    assert not [line for line in lines if "Ana" in json.loads(line)["answer"]]
