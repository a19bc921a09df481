"""Graphs with eight-bit integers for floats, as onnxruntime's static quantisation writes them."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nas.export.int8 import quantise_static

__all__ = ["quantized"]

SAMPLES = 2


def quantized(model: bytes) -> bytes:
    """The graph with quantise and dequantise nodes (QDQ) around its operators.

    `nas.export.int8` writes networks so. Ranges are calibrated on random numbers: what is timed is
    then true, what is computed is not.
    """
    import onnx

    read = onnx.load_from_string(model)
    with tempfile.TemporaryDirectory(prefix="nas-int8-") as folder:
        given, made = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(onnx.shape_inference.infer_shapes(read), given)
        quantise_static(given, made, _Random(read))
        return made.read_bytes()


class _Random:
    """A calibration reader over a few random inputs."""

    def __init__(self, model: Any) -> None:
        constants = {each.name for each in model.graph.initializer}
        self._shapes = {
            each.name: [dim.dim_value or 1 for dim in each.type.tensor_type.shape.dim]
            for each in model.graph.input
            if each.name not in constants
        }
        self._rng, self._left = np.random.default_rng(0), SAMPLES

    def get_next(self) -> dict[str, Any] | None:
        """The next sample, None after the last."""
        if not self._left:
            return None
        self._left -= 1
        return {
            name: self._rng.normal(size=shape).astype(np.float32)
            for name, shape in self._shapes.items()
        }

    def __len__(self) -> int:
        return SAMPLES

    def set_range(self, start_index: int, end_index: int) -> None:
        """All samples, whatever the range: they are few."""
