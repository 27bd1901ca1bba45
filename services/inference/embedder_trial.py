"""Tries an embedder before it is taken in: `python -m services.inference.embedder_trial FOLDER NAME` answers JSON.

A sentence in two languages and an unrelated one go through it. What comes out has to be vectors of one length that tell
texts apart; how well it tells languages together is told, not judged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from libs.shared.errors import ModelBroken, ServiceError
from services.inference.embedder import prepare
from services.inference.embedder_model import Model
from services.inference.embedder_specs import read_spec

SAME = ("My sister has three bees in her garden.", "Ma sœur a trois abeilles dans son jardin.")
OTHER = "The train to the mountains leaves at nine."
LONG = "and so on " * 10_000
"""More than any model reads: its end has to be cut off where the model has no more places."""
ALIKE = 0.9999
"""Above it, two different texts have one vector."""


def tried(folder: Path, name: str) -> dict[str, object]:
    """What the embedder turned out to be. Raises ModelBroken and what building raises."""
    spec = read_spec(folder, name, unknown_dimensions=True)
    asyncio.run(prepare(spec))
    model = Model(spec, threads=1)
    try:
        made = model.compute([spec.prefix("passage") + text for text in (*SAME, OTHER, LONG)])
    except ModelBroken:
        raise
    except Exception as error:  # the runtime's own, for inputs that don't fit the graph
        raise ModelBroken(
            f"{name} can't embed a sentence: its tokenizer and its weights don't belong together"
        ) from error
    vectors = np.array([np.frombuffer(vector, "<f4") for vector, _ in made], dtype=np.float64)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if not vectors.any(axis=1).all() or unit[0] @ unit[2] > ALIKE:
        raise ModelBroken(f"{name} doesn't tell texts apart")
    if spec.dimensions and spec.dimensions != vectors.shape[1]:
        raise ModelBroken(f"{name} makes vectors of {vectors.shape[1]} dimensions, not of {spec.dimensions}")
    return {
        "version": spec.version,
        "dimensions": vectors.shape[1],
        "across_languages": round(float(unit[0] @ unit[1]), 3),
        "unrelated": round(float(unit[0] @ unit[2]), 3),
    }


def main() -> None:
    try:
        told = tried(Path(sys.argv[1]), sys.argv[2])
    except ServiceError as error:
        told = {"refused": error.detail}
    except ModuleNotFoundError as error:
        told = {"refused": f"embedders need {error.name} installed"}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
