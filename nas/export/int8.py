"""An ONNX file in int8.

onnxruntime quantises weights and activations statically, with ranges from calibration images.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError, UsageError
from nas.export.onnx import require_onnx
from nas.files import one_line
from nas.shape import Shape
from nas.size import size_of

__all__ = ["CalibrationReader", "OnnxNetwork", "quantise_static", "write_int8"]

BATCH_SIZE = 32

# Hard sigmoids and products of small maps gain nothing from int8.
OPS = ("Add", "AveragePool", "Clip", "Conv", "Gemm", "MatMul", "MaxPool", "Relu")


class CalibrationReader(Protocol):
    """What onnxruntime calibrates with: any object with this method will do."""

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by the name of its input; None after the last."""
        ...


class OnnxNetwork(nn.Module):
    """An ONNX file with one input and one output as a module.

    It runs in onnxruntime on one thread, without gradients. ``shape``: of the images
    that it takes, and ``classes`` what it gives. Raises `ArchitectureError` for other files.
    """

    def __init__(self, path: Path) -> None:
        require_onnx()
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        # For each thing that is wrong with a file onnxruntime raises a class of its own.
        except Exception as error:
            raise ArchitectureError(f"cannot read {path}: {one_line(error, 120)}") from None
        image = self.session.get_inputs()[0]
        logits = self.session.get_outputs()[0]
        # A number that is free in the file is a word here: only the batch may be.
        fixed = (*image.shape[1:], *logits.shape[1:])
        if len(image.shape) != 4 or not all(isinstance(size, int) for size in fixed):
            raise ArchitectureError(
                f"{path} must take images (any, channels, height, width), not {image.shape}"
            )
        self.input_name = image.name
        self.output_name = logits.name
        self.shape = Shape(image.shape[1], size_of(*image.shape[2:]))
        self.classes = logits.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, channels, height, width). Logits: (n, classes)."""
        feed = {self.input_name: images.contiguous().numpy()}
        return torch.from_numpy(self.session.run([self.output_name], feed)[0])


def write_int8(source: Path, images: Tensor, target: Path) -> None:
    """Write ``target``, the int8 form of the ONNX file ``source``.

    ``images``: (n, channels, size, size) to calibrate with. Weights are int8 per output channel,
    activations uint8 by the range that the images give, as QDQ operators around convolutions,
    linear layers and what sits between them. Properties of the file are kept, ``int8`` is added:
    the number of images.
    """
    require_onnx()
    import onnx
    from onnxruntime.quantization import shape_inference

    reader = _ImageReader(images, OnnxNetwork(source).input_name)
    with TemporaryDirectory(prefix="nas-int8-") as folder, _quiet():
        ready = Path(folder) / "ready.onnx"
        # Symbolic shape inference needs sympy, and finds nothing more in graphs like these.
        shape_inference.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantise_static(ready, target, reader)
    model = onnx.load(target)
    properties = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    properties["int8"] = json.dumps(len(images))
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    onnx.save(model, target)


WARNINGS, ERRORS = 2, 3
"""Severities of onnxruntime, from which on it logs; the first is its default."""


def quantise_static(source: Path, target: Path, reader: CalibrationReader) -> None:
    """Quantise a file by onnxruntime, the same way everywhere here: to ship, and to time.

    Weights are int8 of seven bits with a scale per channel, activations uint8.
    """
    from onnxruntime import quantization

    with _quiet():
        quantization.quantize_static(
            str(source),
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Seven bits of weights keep sums from saturating on CPUs without VNNI, so that the
            # accuracy measured here holds there too.
            reduce_range=True,
            op_types_to_quantize=list(OPS),
            # Signed activations, which onnxruntime advises, take 2 to 4 times as long here: its
            # depthwise kernel knows unsigned ones only.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


class _ImageReader:
    """Images for calibration, batch by batch."""

    def __init__(self, images: Tensor, input_name: str) -> None:
        if len(images) < 1:
            raise UsageError("calibration needs at least one image")
        self.batches = iter(torch.split(images, BATCH_SIZE))
        self.input_name = input_name

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.input_name: batch.contiguous().numpy()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice on standard error, which is about steps that are taken here."""
    import onnxruntime

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    # The sessions of a calibration take no options of ours.
    onnxruntime.set_default_logger_severity(ERRORS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
        onnxruntime.set_default_logger_severity(WARNINGS)
