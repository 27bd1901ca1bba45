"""How an adapter or encoder stands: what it is, where it answers, which nodes have it, and which refuse it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from libs.shared.artefacts.encoders import embedder_of
from libs.shared.contracts.adapters import InService, KeptAdapter, Manifest
from libs.shared.contracts.base import Message
from libs.shared.contracts.common import JsonObject
from libs.shared.contracts.scheduling import Node
from libs.shared.contracts.telemetry import ServedModel, with_adapter


class Standing(Message):
    """One adapter, as it is shown."""

    name: str
    model: str | None = None
    """Under which it is asked for, an encoder as ``name@version``; None: its manifest is refused."""
    kind: str | None = None
    base: str | None = None
    """The model that it changes, or was made of."""
    created: datetime | None = None
    size_bytes: int = 0
    data_sha256: str | None = None
    configuration: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    restricted: bool = False
    """Only those whose words trained it may use it now."""
    tainted: bool = False
    """Something that it was trained with was forgotten, edited or withdrawn since: train it anew."""
    in_service: tuple[InService, ...] = ()
    nodes: tuple[str, ...] = ()
    """That can answer with it."""
    refused: dict[str, str] = Field(default_factory=dict)
    """Node → code; under ``store``: for all of them."""


def standing(kept: KeptAdapter, nodes: Iterable[Node]) -> Standing:
    """From what the store has and what the nodes tell."""
    told = [node.telemetry for node in nodes]
    refused = {one.node_id: code for one in told if (code := _refusal(kept.name, one.degraded)) is not None}
    manifest = kept.manifest
    if manifest is None:
        return Standing(name=kept.name, tainted=kept.tainted, refused={"store": kept.code or "", **refused})
    name = _asked_for(manifest)
    having = (one.node_id for one in told if any(_has(model, manifest, name) for model in one.models))
    return Standing(
        name=kept.name,
        model=name,
        kind=manifest.kind,
        base=manifest.base.name,
        created=manifest.created,
        size_bytes=sum(file.size for file in manifest.files),
        data_sha256=manifest.data_sha256,
        configuration=manifest.configuration,
        metrics=manifest.metrics,
        restricted=kept.owners is not None,
        tainted=kept.tainted,
        in_service=kept.in_service,
        nodes=tuple(sorted(set(having))),
        refused=refused,
    )


def _asked_for(manifest: Manifest) -> str:
    return embedder_of(manifest) if manifest.kind == "encoder" else with_adapter(manifest.base.name, manifest.name)


def _has(model: ServedModel, manifest: Manifest, name: str) -> bool:
    if manifest.kind == "encoder":
        return model.embedder == name
    return model.name == manifest.base.name and manifest.name in model.adapters


def _refusal(name: str, words: Iterable[str]) -> str | None:
    """A node's word for it."""
    return next((word.rpartition(": ")[2] for word in words if word.startswith(f"{name}: ")), None)
