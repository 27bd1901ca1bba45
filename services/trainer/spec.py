"""What a run's process is told, in a file of the run's folder that stays the same when the run is taken up again."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.training import AdapterOptions, MntpOptions
from libs.shared.durable import write_private

FILE = "run.json"
ENCODER, ADAPTER = "encoder", "adapter"
"""Folders in a run's, of what came of it."""
EXAM = "exam"
"""Of what it is measured on."""


class AdapterSpec(BaseModel):
    """An adapter, by whose name its model is served, and the folder of the dataset that it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    dataset: Path
    options: AdapterOptions


class EvaluateSpec(BaseModel):
    """What is measured anew: an adapter's folder, on a dataset, or an encoder's. ``lacking``: why there is no
    dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    adapter: Path | None = None
    dataset: Path | None = None
    encoder: Path | None = None
    lacking: str = ""


class RunSpec(BaseModel):
    """Everything that decides what a run will have learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    text: Path | None = None
    seed: int
    threads: int
    """Of the processor: with another number of them sums are added up in another order."""
    options: MntpOptions = MntpOptions()
    adapter: AdapterSpec | None = None
    """None: an encoder is trained."""
    evaluate: EvaluateSpec | None = None
    """Nothing is trained."""
    exam: Path | None = None
    """The folder of what an encoder is measured on."""
    own: Path | None = None
    """The folder of the dataset of people's words that an encoder learns from beside its text."""


def kept(folder: Path, wanted: RunSpec) -> RunSpec:
    """What the folder's run began with; ``wanted`` where it hasn't begun."""
    path = folder / FILE
    try:
        return RunSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, wanted.model_dump_json(indent=2).encode())
        return wanted
