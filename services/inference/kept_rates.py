"""A file for each model and machine with how fast it was there, from which a node that starts again begins.

Beside it lies a mark for as long as the model is tried: one that is left tells that trying it ended the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import time
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from libs.shared.gguf import parts
from libs.shared.hardware.accelerators import read_accelerators
from libs.shared.hardware.boards import Board
from services.inference.models import ModelSpec

END_BYTES = 64 * 1024
"""Of a file's beginning and of its end so much is read: all of a model would take as long as loading it."""
MOST_FILES = 64
LEFT_S = 3600.0
"""A file that was begun so long ago, and never took its name, was left by a process that ended meanwhile."""
MACHINE_ID = Path("etc/machine-id")
LIBRARIES = {"llama_cpp": ("xllamacpp",), "transformers": ("transformers", "torch")}
"""What a backend computes with."""
HIDES_GPUS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")


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
        self._mark = folder / f"{key}.trying"

    def read(self) -> KeptRates | None:
        """None where there is none that can be understood."""
        try:
            return KeptRates.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, kept: KeptRates) -> None:
        """The old file or the new one, whatever happens meanwhile. Raises OSError."""
        self._make_folder()
        with NamedTemporaryFile(dir=self._folder, prefix=".new-", delete=False) as aside:
            new = Path(aside.name)
            try:
                aside.write(kept.model_dump_json(indent=2).encode() + b"\n")
                aside.flush()
                new.replace(self._path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        with suppress(OSError):
            self._forget_oldest()

    def begin_trying(self) -> bool:
        """False where a trial of the model was begun and never ended. Raises OSError."""
        self._make_folder()
        try:
            self._mark.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True

    def end_trying(self) -> None:
        """The process outlived the trial, or a request to the model. Raises OSError."""
        self._mark.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _forget_oldest(self) -> None:
        for kind in ("*.json", "*.trying"):
            for path in _by_age(self._folder.glob(kind))[:-MOST_FILES]:
                path.unlink(missing_ok=True)
        now = time()
        for path in self._folder.glob(".new-*"):
            if now - path.stat().st_mtime > LEFT_S:
                path.unlink(missing_ok=True)


def key(spec: ModelSpec, machine: str, threads: int) -> str:
    """Names a model's file on one machine, as it is run there. Raises OSError when the model can't be read."""
    run = [fingerprint(spec), spec.backend, libraries(spec.backend), machine, threads, spec.options]
    return hashlib.sha256(json.dumps(run, sort_keys=True, default=str).encode()).hexdigest()[:32]


def fingerprint(spec: ModelSpec) -> str:
    """Changes when a model's weights do: names and sizes of its files, and both ends of each. Raises OSError."""
    told = hashlib.sha256(f"{spec.hub or ''}".encode())
    for path in _weights(spec.path) if spec.path else ():
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            told.update(os.fsencode(f"{path.name} {size} "))
            for start in (0, max(0, size - END_BYTES)):
                file.seek(start)
                told.update(file.read(END_BYTES))
    return told.hexdigest()


def libraries(backend: str) -> list[str]:
    """The versions of what a model is run with: another one may be faster, or slower."""
    found = []
    for name in LIBRARIES.get(backend, ()):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def machine(root: Path, board: Board, visible: Mapping[str, str]) -> str:
    """Tells this machine from others, one to which its disk or its state folder was moved among them, and from itself
    with other GPUs, or with some of them hidden by ``visible``, the environment. Raises OSError."""
    identity = platform.node()
    with suppress(OSError, UnicodeDecodeError):
        identity = (root / MACHINE_ID).read_text().strip() or identity
    gpus = [f"{gpu.vendor} {gpu.name} {gpu.driver}" for gpu in read_accelerators(root, board)]
    hidden = [f"{name}={visible[name]}" for name in HIDES_GPUS if name in visible]
    return " | ".join([identity, board.name, *gpus, *hidden])


def _by_age(paths: Iterable[Path]) -> list[Path]:
    """The oldest first; one that is gone meanwhile is left out."""
    aged = []
    for path in paths:
        with suppress(FileNotFoundError):
            aged.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(aged)]


def _weights(path: Path) -> list[Path]:
    if path.is_file():
        return list(parts(path))
    return sorted(file for file in path.iterdir() if file.name == "config.json" or file.suffix == ".safetensors")
