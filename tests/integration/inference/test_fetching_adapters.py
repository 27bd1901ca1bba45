"""A node on somebody's other machine fetches adapters with its own key, which may ask JetStream nothing."""

from __future__ import annotations

from pathlib import Path

from libs.shared.bus.broker_config import INFERENCE_NODE
from libs.shared.bus.permissions import joined_node
from libs.shared.contracts.base import Principal
from services.inference.fetching import ArtefactFetcher
from services.inference.models import ModelSpec
from tests.support.broker import NODE, TestBroker
from tests.support.kept_adapters import KeptAdapters


async def test_a_joined_node_fetches_through_persistence(tmp_path: Path) -> None:
    source, models = tmp_path / "source", tmp_path / "models"
    source.mkdir()
    weights = bytes(range(256)) * 8192
    (source / "adapter_model.safetensors").write_bytes(weights)
    store = KeptAdapters(source)
    store.keep("ada")
    (tmp_path / "broker").mkdir()
    joined = {f"{INFERENCE_NODE}{NODE}": joined_node(NODE)}
    async with TestBroker(tmp_path / "broker", replaced=joined) as broker:
        await store.serve(await broker.connect(Principal.PERSISTENCE))
        node = await broker.connect(Principal.INFERENCE)
        spec = ModelSpec(name="tiny", backend="transformers", hub="acme/tiny")
        fetcher = ArtefactFetcher(node, models, [spec], lambda _: None)
        assert await fetcher.look()
        assert (models / "adapters" / "ada" / "adapter_model.safetensors").read_bytes() == weights
        assert fetcher.troubles() == ()
