"""A model's safetensors as its graph needs them: read one at a time, in whatever precision they were kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from libs.shared.errors import ModelBroken
from services.inference.graph_nodes import Array

_WRAPPERS = ("bert.", "roberta.", "model.")
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


class Weights:
    """By name, without that of the model around the encoder, as a checkpoint of a larger one has it. What isn't there
    is a KeyError."""

    def __init__(self, path: Path) -> None:
        """Raises ModelBroken for what is no safetensors file."""
        # With it numpy knows bfloat16, in which most decoders are kept.
        import ml_dtypes  # noqa: F401
        from safetensors import SafetensorError, safe_open

        try:
            self._file: Any = safe_open(path, "np")
            self._names: dict[str, str] = {_bare(name): name for name in self._file.offset_keys()}  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as error:
            raise ModelBroken(f"{path.parent.name}'s {path.name} can't be read") from error

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def stored(self, name: str) -> Array:
        """As precise as it was kept."""
        array: Array = self._file.get_tensor(self._names[name])
        return array

    def __getitem__(self, name: str) -> Array:
        return self.stored(name).astype(np.float32)

    def all(self) -> dict[str, Array]:
        """Every one that holds fractions."""
        return {name: self[name] for name in self if self.stored(name).dtype.name in _FLOATS}


def _bare(name: str) -> str:
    return next((name.removeprefix(wrapper) for wrapper in _WRAPPERS if name.startswith(wrapper)), name)
