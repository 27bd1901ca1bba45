"""A node fetches the encoders that were trained, whatever models it serves, and embeds with them as soon as they lie
there; what is corrupt, unsigned or another embedder than was signed never does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.shared.artefacts import bringing
from libs.shared.artefacts.manifests import sign
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import KeptAdapter, SignedManifest
from libs.shared.contracts.base import Principal
from services.inference import artefacts, fetching
from services.inference.embedder_specs import built_in
from services.inference.embedders import Embedders
from services.inference.fetching import ArtefactFetcher
from tests.support import encoders
from tests.support.kept_adapters import SEED, KeptAdapters


class House:
    """A node without a model, beside a store that has one encoder's files."""

    def __init__(self, folder: Path) -> None:
        self.source = encoders.make(folder / "source")
        self.models = folder / "models"
        self.store = KeptAdapters(self.source)

    async def open(self) -> None:
        broker = MemoryBroker()
        self.persistence = await broker.connect(Principal.PERSISTENCE)
        self.node = await broker.connect(Principal.INFERENCE)
        await self.store.serve(self.persistence)
        self.fetcher = ArtefactFetcher(self.node, self.models, [], lambda _: None)

    def keep(self, name: str, seed: bytes = SEED, **about: Any) -> str:
        """The embedder that it is."""
        manifest = encoders.manifest_of(self.source, name, **about)
        self.store.kept[name] = KeptAdapter(name=name, signed=sign(seed, manifest), manifest=manifest)
        return f"{name}@{manifest.configuration.get('version')}"

    def here(self) -> list[str]:
        folder = self.models / "embedders"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.open()
    yield made
    await made.node.drain(1)
    await made.persistence.drain(1)


async def test_one_is_fetched_embeds_without_a_restart_and_is_gone_when_it_is_removed(house: House) -> None:
    embedders = Embedders(
        lambda: built_in(house.models / "embedder"),
        house.models / "embedders",
        threads=1,
        available_mib=lambda: 8192.0,
        changed=lambda _: None,
    )
    await embedders.look()
    assert embedders.served() == ()
    identity = house.keep("tiny-1")
    assert await house.fetcher.look()
    assert not (house.models / "adapters").exists()
    await embedders.look()
    try:
        assert [model.embedder for model in embedders.served()] == [identity]
        texts = ("my sister has three bees", "the train leaves at nine")
        spec, vectors, _ = await embedders.embed("tiny-1", texts, "query", background=False)
        assert (spec.id, [len(vector) for vector in vectors]) == (identity, [encoders.WIDTH * 4] * 2)
        assert vectors[0] != vectors[1]
    finally:
        await embedders.close()
    asked = len(house.store.asked)
    await house.fetcher.look()
    assert len(house.store.asked) == asked
    del house.store.kept["tiny-1"]
    await house.fetcher.look()
    assert house.here() == []


def corrupt(house: House) -> None:
    house.keep("bad")
    manifest = encoders.manifest_of(house.source, "bad")
    wrong = manifest.files[0].model_copy(update={"size": 7})
    swapped = manifest.model_copy(update={"files": (wrong, *manifest.files[1:])})
    house.store.kept["bad"] = KeptAdapter(name="bad", signed=sign(SEED, swapped), manifest=swapped)


def unsigned(house: House) -> None:
    house.keep("bad")
    body = house.store.kept["bad"].signed.body
    house.store.kept["bad"] = house.store.kept["bad"].model_copy(update={"signed": SignedManifest(body=body)})


def foreign(house: House) -> None:
    house.keep("bad", seed=b"e" * 32)


def mismatched(house: House) -> None:
    told = dict(encoders.manifest_of(house.source, "bad").configuration)
    house.keep("bad", configuration=told | {"version": "another"})


BAD: dict[str, Callable[[House], None]] = {
    "artefact_corrupt": corrupt,
    "artefact_unsigned": unsigned,
    "artefact_foreign": foreign,
    "adapter_mismatched": mismatched,
}


async def check_it_is_refused_by_name(house: House, code: str) -> None:
    BAD[code](house)
    house.keep("good")
    await house.fetcher.look()
    assert house.here() == ["good"]
    assert house.fetcher.troubles() == (f"bad: {code}",)


@pytest.mark.parametrize("code", BAD)
async def test_a_bad_one_is_refused_by_name_and_never_lies_there(house: House, code: str) -> None:
    await check_it_is_refused_by_name(house, code)
    asked = len(house.store.asked)
    await house.fetcher.look()
    assert len(house.store.asked) == asked, "what came to nothing isn't fetched again and again"


async def test_one_that_can_not_be_built_is_refused_before_it_lies_there(house: House) -> None:
    config = house.source / "config.json"
    config.write_text(config.read_text().replace('"is_causal": false', '"is_causal": true'))
    house.store = KeptAdapters(house.source)
    await house.open()
    house.keep("causal")
    await house.fetcher.look()
    assert (house.here(), house.fetcher.troubles()) == ([], ("causal: model_broken",))


@pytest.mark.parametrize(
    ("where", "check", "code"),
    [
        (bringing, "check_file", "artefact_corrupt"),
        (artefacts, "verified", "artefact_unsigned"),
        (artefacts, "verified", "artefact_foreign"),
        (fetching, "check_embedder", "adapter_mismatched"),
    ],
)
async def test_a_check_that_is_left_out_is_noticed(
    house: House, where: Any, check: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(*given: Any) -> Any:
        return house.store.kept["bad"].manifest if "bad" in given[0].body else house.store.kept["good"].manifest

    monkeypatch.setattr(where, check, trusting if check == "verified" else lambda *_: None)
    with pytest.raises(AssertionError):
        await check_it_is_refused_by_name(house, code)


async def test_one_that_was_added_by_hand_is_left_alone(house: House) -> None:
    by_hand = encoders.make(house.models / "embedders" / "tiny-1", seed=3)
    before = (by_hand / "model.safetensors").read_bytes()
    house.keep("tiny-1")
    await house.fetcher.look()
    assert house.fetcher.troubles() == ("tiny-1: artefact_clash",)
    assert (by_hand / "model.safetensors").read_bytes() == before
