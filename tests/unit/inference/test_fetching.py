"""A node fetches the installation's adapters, each verified, whole or not at all, and lets go what was removed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.shared.artefacts import bringing
from libs.shared.artefacts.manifests import public_key, sign
from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import (
    ADAPTERS_CHANGED,
    Adapters,
    AdaptersChanged,
    BaseModelOf,
    InService,
    KeptAdapter,
    SignedManifest,
)
from libs.shared.contracts.base import Principal
from services.inference import fetching
from services.inference.adapters import read_adapters
from services.inference.artefacts import errands
from services.inference.fetching import ArtefactFetcher
from services.inference.models import ModelSpec
from tests.support import adapters as written
from tests.support import language_model
from tests.support.kept_adapters import SEED, KeptAdapters

SPEC = ModelSpec(name="tiny", backend="transformers", hub="acme/tiny")
BASE = BaseModelOf(name="tiny")


def new_store(folder: Path) -> KeptAdapters:
    return KeptAdapters(written.write(folder, "ada", seed=0, base=language_model.FOLDER))


class House:
    """A node beside a store."""

    def __init__(self, node: Bus, persistence: Bus, store: KeptAdapters, models: Path) -> None:
        self.node, self.persistence, self.store, self.models = node, persistence, store, models
        self.told: list[bool] = []
        self.fetcher = self.new_fetcher()

    def new_fetcher(self) -> ArtefactFetcher:
        return ArtefactFetcher(self.node, self.models, [SPEC], self.told.append)

    def here(self) -> list[str]:
        folder = self.models / "adapters"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def usable(self) -> list[str]:
        return sorted(read_adapters(self.models, "peft")[0])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    broker, store = MemoryBroker(), new_store(tmp_path / "source")
    persistence = await broker.connect(Principal.PERSISTENCE)
    node = await broker.connect(Principal.INFERENCE)
    await store.serve(persistence)
    yield House(node, persistence, store, tmp_path / "models")
    store.stalls.set()
    await node.drain(1)
    await persistence.drain(1)


async def test_one_comes_whole_is_usable_and_is_gone_when_it_is_removed(house: House) -> None:
    house.store.keep("ada")
    house.store.keep("bob", owners=("u1",))
    assert await house.fetcher.look()
    assert house.here() == house.usable() == ["ada", "bob"]
    found = read_adapters(house.models, "peft")[0]
    assert (found["ada"].restricted, found["bob"].restricted) == (False, True)
    assert found["ada"].base == "tiny"
    asked = len(house.store.asked)
    await house.new_fetcher().look()
    assert len(house.store.asked) == asked
    del house.store.kept["ada"]
    await house.fetcher.look()
    assert house.here() == ["bob"]
    assert house.fetcher.troubles() == ()


async def test_word_of_a_change_has_it_fetched_at_once(house: House) -> None:
    following = asyncio.create_task(house.fetcher.follow())
    async with asyncio.timeout(60):
        house.store.keep("ada")
        while house.here() != ["ada"]:
            await house.persistence.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter="ada"))
            await asyncio.sleep(0.02)
    following.cancel()


async def check_bad_ones_never_lie_here(house: House) -> None:
    store = house.store
    store.keep("ada")
    store.keep("eve", seed=b"e" * 32)
    store.kept["unsigned"] = KeptAdapter(
        name="unsigned", signed=SignedManifest(body=sign(SEED, store.manifest("unsigned")).body)
    )
    wrong = store.manifest("swapped").files[0].model_copy(update={"size": 7})
    swapped = store.manifest("swapped").model_copy(update={"files": (wrong, *store.manifest("swapped").files[1:])})
    store.kept["swapped"] = KeptAdapter(name="swapped", signed=sign(SEED, swapped), manifest=swapped)
    mismatched = store.manifest("mismatched").model_copy(update={"base": BaseModelOf(name="tiny", fingerprint="x:1")})
    store.kept["mismatched"] = KeptAdapter(name="mismatched", signed=sign(SEED, mismatched))
    house.fetcher._bases = {"tiny": BaseModelOf(name="tiny", fingerprint="x:2")}
    await house.fetcher.look()
    assert house.here() == ["ada"]
    assert house.fetcher.troubles() == (
        "eve: artefact_foreign",
        "mismatched: adapter_mismatched",
        "swapped: artefact_corrupt",
        "unsigned: artefact_unsigned",
    )
    assert house.told == [True]


async def test_corrupt_unsigned_foreign_and_mismatched_ones_are_refused_by_name(house: House) -> None:
    await check_bad_ones_never_lie_here(house)
    asked = len(house.store.asked)
    await house.fetcher.look()
    assert len(house.store.asked) == asked  # what came to nothing isn't fetched again and again


async def test_the_check_notices_files_that_are_not_verified(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "check_file", lambda *_: None)
    with pytest.raises(AssertionError):
        await check_bad_ones_never_lie_here(house)


async def test_a_fetch_that_a_kill_cuts_short_leaves_nothing_to_be_loaded_and_is_begun_anew(
    house: House, tmp_path: Path
) -> None:
    house.store.keep("ada")
    house.store.stalls.clear()
    fetching_now = asyncio.create_task(house.fetcher.look())
    part = house.models / "adapters" / ".fetching.ada" / "adapter_config.json"
    async with asyncio.timeout(60):
        while not part.exists():  # noqa: ASYNC110 - a file appears
            await asyncio.sleep(0.01)
    assert house.usable() == []
    shutil.copytree(part.parent, tmp_path / "left")
    fetching_now.cancel()
    await asyncio.gather(fetching_now, return_exceptions=True)
    assert house.here() == []
    shutil.copytree(tmp_path / "left", part.parent)  # as a kill would leave it
    house.store.stalls.set()
    await house.new_fetcher().look()
    assert house.here() == house.usable() == ["ada"]


async def test_without_room_it_is_refused_and_comes_when_there_is_some(house: House) -> None:
    house.store.keep("ada")
    free = [0]
    fetcher = ArtefactFetcher(house.node, house.models, [SPEC], house.told.append, free=lambda _: free[0])
    assert not await fetcher.look()
    assert fetcher.troubles() == ("ada: storage_full",)
    assert house.here() == []
    free[0] = 2 * fetching.RESERVE_BYTES
    assert await fetcher.look()
    assert (fetcher.troubles(), house.here()) == ((), ["ada"])


async def test_a_folder_that_was_put_there_by_hand_is_neither_replaced_nor_removed(house: House) -> None:
    written.write(house.models, "ada", seed=1)
    written.write(house.models, "own", seed=1)
    before = (house.models / "adapters" / "ada" / "adapter_model.safetensors").read_bytes()
    house.store.keep("ada")
    await house.fetcher.look()
    assert house.fetcher.troubles() == ("ada: artefact_clash",)
    assert (house.models / "adapters" / "ada" / "adapter_model.safetensors").read_bytes() == before
    assert house.here() == ["ada", "own"]


def test_what_is_in_service_is_fetched_first_and_what_no_model_here_takes_is_left_alone(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for name in ("old", "served", "new"):
        store.keep(name)
    served = store.kept["served"].model_copy(update={"in_service": (InService(role="chat", share=0.1),)})
    told = Adapters(adapters=(store.kept["old"], served, store.kept["new"]), key=public_key(SEED))
    assert [one.manifest.name for one in errands(told, {}, {"tiny": BASE}).fetch] == ["served", "new", "old"]
    elsewhere = errands(told, {"old": store.kept["old"].signed.body}, {"other": BaseModelOf(name="other")})
    assert (elsewhere.fetch, elsewhere.remove, elsewhere.refused) == ((), (), {})
