"""The nodes and weights of an ONNX graph as they are added one by one; every method gives the name of its output."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

APART_BYTES = 1024
"""Weights from this size on lie in a file beside the graph, where there is one."""
_ALIGNED = 64


class Nodes:
    """``beside``: an open file for the weights and the name that it has in the graph's folder, for graphs of more than
    the two gigabytes that one file of the format holds."""

    def __init__(self, name: str, beside: tuple[BinaryIO, str] | None = None) -> None:
        self._name = name
        self._beside = beside
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def serialised(self, output: str, output_shape: list[str | int]) -> bytes:
        """The graph from ``input_ids`` and ``attention_mask`` (batch, tokens) to ``output``."""
        from onnx import TensorProto, checker, helper

        shape = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        if self._beside is None:
            checker.check_model(model)  # with weights beside it, it can be checked only where it lies
        return bytes(model.SerializeToString())

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """One node."""
        from onnx import helper

        output = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def const(self, name: str, value: Any) -> str:
        """A weight or number, written once for its name."""
        from onnx import numpy_helper

        if name not in self._constants:
            array = np.asarray(value)
            apart = self._beside is not None and array.nbytes >= APART_BYTES
            self._constants[name] = self._apart(name, array) if apart else numpy_helper.from_array(array, name)
        return name

    def _apart(self, name: str, array: Array) -> Any:
        from onnx import TensorProto, helper

        assert self._beside is not None
        file, location = self._beside
        file.write(b"\0" * (-file.tell() % _ALIGNED))
        offset = file.tell()
        file.write(array.tobytes())
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor
