"""A node on somebody's other machine fetches artefacts with its own key, which may ask JetStream nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from libs.shared.artefacts.manifests import sign
from libs.shared.bus.broker_config import INFERENCE_NODE
from libs.shared.bus.permissions import joined_node
from libs.shared.contracts.adapters import KeptAdapter
from libs.shared.contracts.base import Principal
from services.inference.fetching import ArtefactFetcher
from services.inference.models import ModelSpec
from tests.support import encoders
from tests.support.broker import NODE, TestBroker
from tests.support.kept_adapters import SEED, KeptAdapters


async def fetched(store: KeptAdapters, folder: Path, specs: Sequence[ModelSpec] = ()) -> Path:
    """The models folder of a joined node, once it has looked."""
    (folder / "broker").mkdir()
    joined = {f"{INFERENCE_NODE}{NODE}": joined_node(NODE)}
    async with TestBroker(folder / "broker", replaced=joined) as broker:
        await store.serve(await broker.connect(Principal.PERSISTENCE))
        fetcher = ArtefactFetcher(await broker.connect(Principal.INFERENCE), folder / "models", specs, lambda _: None)
        assert await fetcher.look()
        assert fetcher.troubles() == ()
    return folder / "models"


async def test_a_joined_node_fetches_through_persistence(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    weights = bytes(range(256)) * 8192
    (source / "adapter_model.safetensors").write_bytes(weights)
    store = KeptAdapters(source)
    store.keep("ada")
    models = await fetched(store, tmp_path, [ModelSpec(name="tiny", backend="transformers", hub="acme/tiny")])
    assert (models / "adapters" / "ada" / "adapter_model.safetensors").read_bytes() == weights


async def test_a_joined_node_without_a_model_fetches_encoders_likewise(tmp_path: Path) -> None:
    source = encoders.make(tmp_path / "source")
    store, manifest = KeptAdapters(source), encoders.manifest_of(source, "tiny-1")
    store.kept["tiny-1"] = KeptAdapter(name="tiny-1", signed=sign(SEED, manifest), manifest=manifest)
    models = await fetched(store, tmp_path)
    for file in manifest.files:
        assert (models / "embedders" / "tiny-1" / file.name).read_bytes() == (source / file.name).read_bytes()
