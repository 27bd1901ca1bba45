"""Models worth beginning with, and which of them suits a machine. Pure, but for reading its own data file.

The file knows names, licences and rough needs. Sizes and checksums always come from the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

DATA = Path(__file__).with_name("catalogue.json")
DISK_RESERVE_MIB = 512
"""Left on the disk for what people say while the model lies there."""
KEPT_FREE_MIB = 448
"""Of ``memory_mib``: buffers of the runtime, and what inference leaves free for everything else."""

SuggestedRole = Literal["chat", "code"]


class Suggestion(BaseModel):
    """A model of the catalogue. ``memory_mib`` counts its weights, 8,192 tokens of context, and ``KEPT_FREE_MIB``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    repository: str
    file: str
    licence: str
    parameters: str
    size_hint_mib: int
    memory_mib: int
    roles: tuple[SuggestedRole, ...]

    def needed_mib(self, size_bytes: int | None) -> float:
        """Free memory that it takes, once the hub has told its size."""
        grown_mib = 0.0 if size_bytes is None else size_bytes / 2**20 - self.size_hint_mib
        return self.memory_mib + grown_mib


class Profile(BaseModel):
    """A kind of machine, from ``total_memory_mib`` (and so much memory on one GPU) on; best model first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    total_memory_mib: int
    gpu_memory_mib: int
    chat: tuple[str, ...]
    code: tuple[str, ...]


class Catalogue(BaseModel):
    """``catalogue.json``. Profiles stand from the smallest machine to the largest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[Suggestion, ...]
    profiles: tuple[Profile, ...]

    def by_file(self) -> dict[str, Suggestion]:
        return {model.file: model for model in self.models}


@dataclass(frozen=True)
class Machine:
    """What a model has to fit into."""

    total_mib: float
    available_mib: float
    free_disk_mib: float
    gpu_mib: float = 0.0
    """Memory of the largest GPU."""


@dataclass(frozen=True)
class Choice:
    """What suits the machine, best first, and why each other was left out (file → reason)."""

    profile: str
    fitting: tuple[Suggestion, ...]
    refused: dict[str, str]


@cache
def catalogue() -> Catalogue:
    """Read once a command."""
    return Catalogue.model_validate_json(DATA.read_bytes())


def profile_of(machine: Machine, profiles: tuple[Profile, ...]) -> Profile:
    """The largest that the machine is big enough for."""
    suitable = [p for p in profiles if _reaches(machine, p)]
    return suitable[-1] if suitable else profiles[0]


def _reaches(machine: Machine, profile: Profile) -> bool:
    return machine.total_mib >= profile.total_memory_mib and machine.gpu_mib >= profile.gpu_memory_mib


def suggest(role: SuggestedRole, machine: Machine, known: Catalogue) -> Choice:
    """By the free memory and disk of this moment, on what the catalogue knows of sizes."""
    profile = profile_of(machine, known.profiles)
    models = known.by_file()
    fitting: list[Suggestion] = []
    refused: dict[str, str] = {}
    for file in getattr(profile, role):
        reason = misfit(models[file], machine, None)
        if reason is None:
            fitting.append(models[file])
        else:
            refused[file] = reason
    return Choice(profile.name, tuple(fitting), refused)


def misfit(model: Suggestion, machine: Machine, size_bytes: int | None) -> str | None:
    """Why it doesn't fit; None when it does. ``size_bytes`` is the hub's word, None: not asked yet."""
    needed_mib = model.needed_mib(size_bytes)
    if needed_mib > machine.available_mib:
        return f"needs {needed_mib:.0f} MiB of memory, and {machine.available_mib:.0f} MiB are free"
    disk_mib = (model.size_hint_mib if size_bytes is None else size_bytes / 2**20) + DISK_RESERVE_MIB
    if disk_mib > machine.free_disk_mib:
        return f"needs {disk_mib:.0f} MiB of disk, and {machine.free_disk_mib:.0f} MiB are free"
    return None
