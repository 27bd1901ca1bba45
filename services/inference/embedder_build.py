"""Builds the graph of an installed embedder from its safetensors: `python -m services.inference.embedder_build FOLDER`.

BERT and its kin (XLM-RoBERTa, CamemBERT) are built; any other model has to be brought as ``model.onnx``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from libs.shared.errors import ModelBroken
from services.inference.embedder_graph import GRAPH_VERSION, Array, Shape, digest, replace, token_graph
from services.inference.embedder_specs import (
    BEHIND_PADDING,
    BUILT_FILE,
    BUILT_MANIFEST,
    CONFIG_FILE,
    WEIGHTS_FILE,
    first_position,
    read_config,
)

FAMILIES = BEHIND_PADDING | {"bert"}
"""``model_type`` of what is built."""
_WRAPPERS = ("bert.", "roberta.", "model.")


def build(folder: Path) -> None:
    """Writes the graph, then its manifest. Raises ModelBroken for another family, or weights that don't fit."""
    shape = read_shape(folder)
    weights = _weights(folder)
    try:
        graph = token_graph(weights, shape)
    except KeyError as error:
        raise ModelBroken(f"the weights lack {error.args[0]}") from error
    replace(folder / BUILT_FILE, graph)
    stamp = _source_stamp(folder)
    replace(folder / BUILT_MANIFEST, json.dumps({"source": stamp, "sha256": digest(folder / BUILT_FILE)}).encode())


def is_built(folder: Path) -> bool:
    """Whether the graph is of these weights, and unchanged since."""
    try:
        manifest = json.loads((folder / BUILT_MANIFEST).read_bytes())
        return bool(manifest["source"] == _source_stamp(folder) and digest(folder / BUILT_FILE) == manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _source_stamp(folder: Path) -> list[int]:
    state = (folder / WEIGHTS_FILE).stat()
    return [GRAPH_VERSION, state.st_size, state.st_mtime_ns]


def read_shape(folder: Path) -> Shape:
    """Raises ModelBroken for a model of another family."""
    config = read_config(folder)
    family = config.get("model_type")
    if family not in FAMILIES or config.get("hidden_act", "gelu") != "gelu":
        raise ModelBroken(f"a model of the family {family} has to be brought as model.onnx")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelBroken("a model with relative positions has to be brought as model.onnx")
    try:
        return Shape(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            dimensions=int(config["hidden_size"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            first_position=first_position(config),
        )
    except (ValueError, LookupError, TypeError) as error:
        raise ModelBroken(f"{folder.name} has no readable {CONFIG_FILE} of an encoder") from error


def _weights(folder: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        stored = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise ModelBroken(f"{folder.name}'s {WEIGHTS_FILE} can't be read, or is in bfloat16") from error
    return {_bare(name): value.astype(np.float32) for name, value in stored.items() if value.dtype.kind == "f"}


def _bare(name: str) -> str:
    """Without the name of the model around the encoder, as a checkpoint of a larger one has it."""
    return next((name.removeprefix(wrapper) for wrapper in _WRAPPERS if name.startswith(wrapper)), name)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except ModelBroken as error:
        sys.exit(error.detail)
