"""Builds the graph of an installed embedder from its safetensors: `python -m services.inference.embedder_build FOLDER`.

BERT and its kin (XLM-RoBERTa, CamemBERT) are built, and decoders that ``mongars train mntp`` made encoders of; any
other model has to be brought as ``model.onnx``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from libs.shared.errors import ModelBroken
from services.inference.decoder_graph import decoder_graph
from services.inference.decoder_shape import DECODERS, DecoderShape, decoder_shape
from services.inference.embedder_graph import GRAPH_VERSION, Shape, digest, replace, token_graph
from services.inference.embedder_specs import (
    BEHIND_PADDING,
    BUILT_FILE,
    BUILT_MANIFEST,
    BUILT_WEIGHTS,
    CONFIG_FILE,
    WEIGHTS_FILE,
    first_position,
    read_config,
)
from services.inference.embedder_weights import Weights

FAMILIES = BEHIND_PADDING | {"bert"}
"""``model_type`` of what is built beside the decoders."""


def build(folder: Path) -> None:
    """Writes the graph, then its manifest. Raises ModelBroken for another family, or weights that don't fit."""
    shape = read_shape(folder)
    weights = Weights(folder / WEIGHTS_FILE)
    try:
        if isinstance(shape, DecoderShape):
            _write_decoder(folder, weights, shape)
        else:
            replace(folder / BUILT_FILE, token_graph(weights.all(), shape))
    except KeyError as error:
        raise ModelBroken(f"the weights lack {error.args[0]}") from error
    about = {"source": _source_stamp(folder), "sha256": _digests(folder)}
    replace(folder / BUILT_MANIFEST, json.dumps(about).encode())


def is_built(folder: Path) -> bool:
    """Whether the graph is of these weights, and unchanged since."""
    try:
        manifest = json.loads((folder / BUILT_MANIFEST).read_bytes())
        return bool(manifest["source"] == _source_stamp(folder) and manifest["sha256"] == _digests(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_decoder(folder: Path, weights: Weights, shape: DecoderShape) -> None:
    """The weights first, each straight from one file to the other: the model may be as large as the memory."""
    aside = folder / f".{BUILT_WEIGHTS}.{os.getpid()}"
    try:
        with aside.open("wb") as file:
            graph = decoder_graph(weights, shape, (file, BUILT_WEIGHTS))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / BUILT_WEIGHTS)
    finally:
        aside.unlink(missing_ok=True)
    replace(folder / BUILT_FILE, graph)


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in (BUILT_FILE, BUILT_WEIGHTS) if (folder / name).is_file()}


def _source_stamp(folder: Path) -> list[int]:
    state = (folder / WEIGHTS_FILE).stat()
    return [GRAPH_VERSION, state.st_size, state.st_mtime_ns]


def read_shape(folder: Path) -> Shape | DecoderShape:
    """Raises ModelBroken for a model of another family."""
    config = read_config(folder)
    family = config.get("model_type")
    if family in DECODERS:
        return decoder_shape(config, folder.name)
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


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except ModelBroken as error:
        sys.exit(error.detail)
