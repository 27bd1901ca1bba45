"""The ONNX graph of a decoder that sees in both directions: every token's vector, padding left out of sight.

Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, as ``mongars train mntp`` leaves them (LLM2Vec, BehnamGhader et al. 2024,
§2.1): rotary positions, grouped heads and gated layers as each has them, and no causal mask.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from services.inference.decoder_shape import DecoderShape, Layer
from services.inference.embedder_weights import Weights
from services.inference.graph_nodes import Nodes

_OUT_OF_SIGHT = np.float32(-1e9)


def decoder_graph(weights: Weights, shape: DecoderShape, beside: tuple[BinaryIO, str]) -> bytes:
    """The graph, its weights written ``beside`` it: an open file, and that file's name. Raises KeyError for weights of
    another family."""
    graph = _Graph(weights, shape, beside)
    return graph.serialised(graph.read(), ["batch", "tokens", shape.width])


class _Graph(Nodes):
    def __init__(self, weights: Weights, shape: DecoderShape, beside: tuple[BinaryIO, str]) -> None:
        super().__init__("decoder", beside)
        self._weights = weights
        self._shape = shape
        self._seen: dict[int | None, str] = {}
        self._turned: dict[tuple[float, ...], tuple[str, str]] = {}

    def read(self) -> str:
        table = self.const("words", self._weights.stored("embed_tokens.weight"))
        hidden = self.add("Cast", self.add("Gather", table, "input_ids", axis=0), to=1)
        if self._shape.word_scale != 1.0:
            hidden = self._times(hidden, "word_scale", self._shape.word_scale)
        for number, layer in enumerate(self._shape.layers):
            hidden = self._layer(f"layers.{number}", layer, hidden)
        return self.add("Identity", self._norm("norm", hidden), output="last_hidden_state")

    def _layer(self, name: str, layer: Layer, hidden: str) -> str:
        attended = self._attend(f"{name}.self_attn", layer, self._norm(f"{name}.input_layernorm", hidden))
        if f"{name}.pre_feedforward_layernorm.weight" not in self._weights:
            hidden = self.add("Add", hidden, attended)
            gated = self._gated(f"{name}.mlp", self._norm(f"{name}.post_attention_layernorm", hidden))
            return self.add("Add", hidden, gated)
        hidden = self.add("Add", hidden, self._norm(f"{name}.post_attention_layernorm", attended))
        gated = self._gated(f"{name}.mlp", self._norm(f"{name}.pre_feedforward_layernorm", hidden))
        return self.add("Add", hidden, self._norm(f"{name}.post_feedforward_layernorm", gated))

    def _attend(self, name: str, layer: Layer, hidden: str) -> str:
        """Queries are (batch, key heads, queries of each, tokens, head), keys and values likewise, with one of each."""
        shape = self._shape
        groups = shape.heads // shape.key_value_heads
        query = self._turn(layer, self._heads(f"{name}.q", hidden, groups))
        key = self._turn(layer, self._heads(f"{name}.k", hidden, 1))
        value = self._heads(f"{name}.v", hidden, 1)
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 1, 2, 4, 3]))
        scores = self._times(scores, "score_scale", shape.score_scale)
        if shape.score_cap is not None:
            shrunk = self.add("Tanh", self._times(scores, "cap_inverse", 1 / shape.score_cap))
            scores = self._times(shrunk, "cap", shape.score_cap)
        shares = self.add("Softmax", self.add("Add", scores, self._sight(layer.window)), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, value), perm=[0, 3, 1, 2, 4])
        joined = self.const("joined", np.array([0, 0, shape.heads * shape.head_size]))
        return self._linear(f"{name}.o_proj", self.add("Reshape", mixed, joined))

    def _heads(self, name: str, hidden: str, groups: int) -> str:
        shape = self._shape
        apart = np.array([0, 0, shape.key_value_heads, groups, shape.head_size])
        split = self.add("Reshape", self._linear(f"{name}_proj", hidden), self.const(f"split_{groups}", apart))
        if f"{name}_norm.weight" in self._weights:
            split = self._norm(f"{name}_norm", split)
        return self.add("Transpose", split, perm=[0, 2, 3, 1, 4])

    def _turn(self, layer: Layer, heads: str) -> str:
        cosines, sines = self._angles(layer.turns)
        half = self._shape.head_size // 2
        first = self._part(heads, 0, half)
        second = self._part(heads, half, 2 * half)
        across = self.add("Concat", self.add("Neg", second), first, axis=-1)
        return self.add("Add", self.add("Mul", heads, cosines), self.add("Mul", across, sines))

    def _part(self, x: str, start: int, end: int) -> str:
        bounds = (self.const(f"at_{at}", np.array([at])) for at in (start, end))
        return self.add("Slice", x, *bounds, self.const("last_axis", np.array([-1])))

    def _angles(self, turns: tuple[float, ...]) -> tuple[str, str]:
        """Of every position (tokens, head)."""
        if turns not in self._turned:
            name = f"turns_{len(self._turned)}"
            row = self.const(name, np.array([turns], dtype=np.float32))
            column = self.add("Unsqueeze", self._positions(), self.const("axis_1", np.array([1])))
            half = self.add("Mul", self.add("Cast", column, to=1), row)
            whole = self.add("Concat", half, half, axis=-1)
            self._turned[turns] = self.add("Cos", whole), self.add("Sin", whole)
        return self._turned[turns]

    def _positions(self) -> str:
        length = self.add("Gather", self.add("Shape", "input_ids"), self.const("index_1", np.array(1)), axis=0)
        return self.add("Range", self.const("zero", np.array(0)), length, self.const("step", np.array(1)))

    def _sight(self, window: int | None) -> str:
        """0 where a token may be looked at and far below elsewhere, to be added to the scores."""
        if window not in self._seen:
            if window is None:
                axes = self.const("axes_1_2_3", np.array([1, 2, 3]))
                kept = self.add("Unsqueeze", self.add("Cast", "attention_mask", to=1), axes)
                absent = self.add("Sub", self.const("one", np.float32(1)), kept)
                self._seen[window] = self.add("Mul", absent, self.const("out_of_sight", _OUT_OF_SIGHT))
            else:
                self._seen[window] = self.add("Add", self._sight(None), self._beyond(window))
        return self._seen[window]

    def _beyond(self, window: int) -> str:
        """(tokens, tokens): as far apart as the window reaches is still in sight."""
        positions = self._positions()
        rows = self.add("Unsqueeze", positions, self.const("axis_0", np.array([0])))
        columns = self.add("Unsqueeze", positions, self.const("axis_1", np.array([1])))
        apart = self.add("Abs", self.add("Sub", columns, rows))
        beyond = self.add("Cast", self.add("Greater", apart, self.const(f"window_{window}", np.array(window))), to=1)
        return self.add("Mul", beyond, self.const("out_of_sight", _OUT_OF_SIGHT))

    def _gated(self, name: str, hidden: str) -> str:
        gate = self._activated(self._linear(f"{name}.gate_proj", hidden))
        return self._linear(f"{name}.down_proj", self.add("Mul", gate, self._linear(f"{name}.up_proj", hidden)))

    def _activated(self, x: str) -> str:
        if self._shape.activation == "silu":
            return self.add("Mul", x, self.add("Sigmoid", x))
        cube = self._times(self.add("Mul", self.add("Mul", x, x), x), "cubic", 0.044715)
        bent = self.add("Tanh", self._times(self.add("Add", x, cube), "root_2_pi", np.sqrt(2 / np.pi)))
        return self.add("Mul", self._times(x, "half", 0.5), self.add("Add", bent, self.const("one", np.float32(1))))

    def _norm(self, name: str, x: str) -> str:
        """Root mean square, in the five steps that the runtime knows as one."""
        mean = self.add("ReduceMean", self.add("Pow", x, self.const("two", np.float32(2))), axes=[-1], keepdims=1)
        level = self.add("Sqrt", self.add("Add", mean, self.const("epsilon", np.float32(self._shape.epsilon))))
        weight = self._weights[f"{name}.weight"] + np.float32(self._shape.norms_add_one)
        return self.add("Mul", self.add("Div", x, level), self.const(f"{name}.weight", weight))

    def _linear(self, name: str, x: str) -> str:
        weight = self.const(f"{name}.weight", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        product = self.add("MatMul", x, weight)
        if f"{name}.bias" not in self._weights:
            return product
        return self.add("Add", product, self.const(f"{name}.bias", self._weights[f"{name}.bias"]))

    def _times(self, x: str, name: str, factor: float) -> str:
        return self.add("Mul", x, self.const(name, np.float32(factor)))
