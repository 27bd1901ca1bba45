"""Looks at a local model's files before anything loads them: is it whole, does it fit, may it be tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from libs.shared.errors import ModelBroken
from libs.shared.gguf import read_header
from services.inference import gguf
from services.inference.fit import Shape, check_fit, folder_shape
from services.inference.models import ModelSpec

TRIES = 3
"""A file that took the process with it so often while it was loaded is left alone until it changes."""


def inspect(spec: ModelSpec, *, default_context_tokens: int, available_mib: Callable[[], float]) -> None:
    """Raises ModelBroken or ModelDoesNotFit. A hub id that wasn't fetched yet is looked at by its backend, later."""
    if spec.path is None:
        return
    check_fit(spec.name, _shape(spec, spec.path, default_context_tokens).needs, available_mib())


def _shape(spec: ModelSpec, path: Path, default_context: int) -> Shape:
    if spec.backend == "llama_cpp":
        header = read_header(path)
        return gguf.shape(path, header, spec.context_tokens or default_context, spec.slots(1))
    return folder_shape(path, spec.context_tokens, default_context)


class Attempts:
    """Counts on disk the loads that began and never ended: some broken files kill the library that reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, spec: ModelSpec) -> None:
        """Raises ModelBroken after too many."""
        mark, known = self._mark(spec), self._read(spec)
        tries = known.get("tries", 0) if known.get("version") == _version(spec) else 0
        if tries >= TRIES:
            raise ModelBroken(f"loading {spec.name} ended the process {tries} times; replace the file")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.write_text(json.dumps({"version": _version(spec), "tries": tries + 1}))

    def end(self, spec: ModelSpec) -> None:
        """It was loaded, or refused in good order."""
        self._mark(spec).unlink(missing_ok=True)

    def _mark(self, spec: ModelSpec) -> Path:
        return self._folder / f"{spec.name.replace('/', '_')}.loading"

    def _read(self, spec: ModelSpec) -> dict[str, int]:
        try:
            found = json.loads(self._mark(spec).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _version(spec: ModelSpec) -> int:
    """Changes when the file does."""
    try:
        return spec.path.stat().st_mtime_ns if spec.path else 0
    except OSError:
        return 0
