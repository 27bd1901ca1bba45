"""A file for each model and machine with how fast it was there, from which a node that starts again begins."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from libs.shared.gguf import parts
from services.inference.models import ModelSpec

END_BYTES = 64 * 1024
"""Of a file's beginning and of its end so much is read: all of a model would take as long as loading it."""
MOST_FILES = 64
MACHINE_ID = Path("etc/machine-id")


class KeptRates(BaseModel):
    """Tokens a second, and when and how they were measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    prompt_tokens_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    generated_tokens_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    source: Literal["trial", "requests"]
    measured_at: AwareDatetime

    def age_s(self, now: datetime) -> float:
        """Negative where the machine's clock was set back."""
        return (now - self.measured_at).total_seconds()


class RatesFile:
    """One model's, in ``folder``."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._path = folder / f"{key}.json"

    def read(self) -> KeptRates | None:
        """None where there is none that can be understood."""
        try:
            return KeptRates.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, kept: KeptRates) -> None:
        """The old file or the new one, whatever happens meanwhile. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=self._folder, prefix=".new-", delete=False) as aside:
            aside.write(kept.model_dump_json(indent=2).encode() + b"\n")
        Path(aside.name).replace(self._path)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in files[:-MOST_FILES]:
            path.unlink(missing_ok=True)


def key(spec: ModelSpec, machine: str, threads: int) -> str:
    """Names a model's file on one machine, as it is run there. Raises OSError when the model can't be read."""
    run = [fingerprint(spec), spec.backend, machine, threads, spec.options]
    return hashlib.sha256(json.dumps(run, sort_keys=True, default=str).encode()).hexdigest()[:32]


def fingerprint(spec: ModelSpec) -> str:
    """Changes when a model's weights do: names and sizes of its files, and both ends of each. Raises OSError."""
    told = hashlib.sha256(f"{spec.hub or ''}".encode())
    for path in _weights(spec.path) if spec.path else ():
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            told.update(f"{path.name} {size} ".encode())
            for start in (0, max(0, size - END_BYTES)):
                file.seek(start)
                told.update(file.read(END_BYTES))
    return told.hexdigest()


def machine(root: Path, board: str) -> str:
    """Tells this machine from others, one to which its disk or its state folder was moved among them."""
    identity = platform.node()
    with suppress(OSError):
        identity = (root / MACHINE_ID).read_text().strip() or identity
    return f"{identity} {board}"


def _weights(path: Path) -> list[Path]:
    if path.is_file():
        return list(parts(path))
    return sorted(file for file in path.iterdir() if file.name == "config.json" or file.suffix == ".safetensors")
