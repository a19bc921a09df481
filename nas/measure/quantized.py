"""Graphs with eight-bit integers for floats, as onnxruntime's static quantisation writes them."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.export.int8 import quantise_static

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["quantized"]

SAMPLES = 2


def quantized(model: bytes) -> bytes:
    """The graph with quantise and dequantise nodes (QDQ) around its operators.

    `nas.export.int8` writes networks so. Ranges are calibrated on random numbers: what is timed is
    then true, what is computed is not.
    """
    import onnx

    graph = onnx.load_from_string(model)
    with tempfile.TemporaryDirectory(prefix="nas-int8-") as folder:
        source = Path(folder, "float.onnx")
        target = Path(folder, "int8.onnx")
        onnx.save(onnx.shape_inference.infer_shapes(graph), source)
        quantise_static(source, target, _RandomReader(graph))
        return target.read_bytes()


class _RandomReader:
    """A calibration reader over a few random inputs."""

    def __init__(self, model: "ModelProto") -> None:
        constants = {value.name for value in model.graph.initializer}
        self._shapes = {}
        for value in model.graph.input:
            if value.name not in constants:
                sizes = value.type.tensor_type.shape.dim
                # An axis that is free in the graph, the batch, has no number: one will do.
                self._shapes[value.name] = [size.dim_value or 1 for size in sizes]
        self._rng = np.random.default_rng(0)
        self._left = SAMPLES

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample, None after the last."""
        if not self._left:
            return None
        self._left -= 1
        return {
            name: self._rng.normal(size=shape).astype(np.float32)
            for name, shape in self._shapes.items()
        }
