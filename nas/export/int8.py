"""An ONNX file in int8: weights and activations quantised statically by onnxruntime, ranges from calibration images."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError, UsageError
from nas.export.onnx import require_onnx
from nas.files import one_line

__all__ = ["OnnxNetwork", "quantise_static", "write_int8"]

BATCH_SIZE = 32

# Signed activations, which onnxruntime advises, take 2 to 4 times as long here: its depthwise
# kernel knows unsigned ones only. Hard sigmoids and products of small maps gain nothing from int8.
# Seven bits of weights keep sums from saturating on CPUs without VNNI, so that the accuracy
# measured here holds there too.
OPS = ("Add", "AveragePool", "Clip", "Conv", "Gemm", "MatMul", "MaxPool", "Relu")


class OnnxNetwork(nn.Module):
    """An ONNX file with one input and one output as a module: runs in onnxruntime on one thread, without gradients.

    ``shape``: what it takes, (channels, size), and ``classes`` what it gives. Raises
    `ArchitectureError` for other files.
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
        except (
            Exception
        ) as error:  # onnxruntime raises classes of its own for whatever is wrong with a file
            raise ArchitectureError(f"cannot read {path}: {one_line(error, 120)}") from None
        given, out = self.session.get_inputs()[0], self.session.get_outputs()[0]
        if len(given.shape) != 4 or not all(
            isinstance(n, int) for n in (*given.shape[1:3], *out.shape[1:])
        ):
            raise ArchitectureError(
                f"{path} must take images (any, channels, size, size), not {given.shape}"
            )
        self.given, self.out = given.name, out.name
        self.shape, self.classes = (given.shape[1], given.shape[2]), out.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, channels, size, size). Logits: (n, classes)."""
        found = self.session.run([self.out], {self.given: images.contiguous().numpy()})[0]
        return torch.from_numpy(found)


def write_int8(source: Path, images: Tensor, target: Path) -> None:
    """Write ``target``, the int8 form of the ONNX file ``source``; images: (n, channels, size, size) to calibrate with.

    Weights int8 per output channel, activations uint8 by the range of the calibration images, as
    QDQ operators around convolutions, linear layers and what sits between them. Properties of the
    file are kept, ``int8`` is added: the number of images.
    """
    require_onnx()
    import onnx
    from onnxruntime.quantization import shape_inference

    with TemporaryDirectory(prefix="nas-int8-") as folder, _quiet():
        ready = Path(folder) / "ready.onnx"
        shape_inference.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantise_static(ready, target, _reader(images, OnnxNetwork(source).given))
    model = onnx.load(target)
    known = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    onnx.helper.set_model_props(model, {**known, "int8": json.dumps(len(images))})
    onnx.checker.check_model(model)
    onnx.save(model, target)


def quantise_static(source: Path, target: Path, reader: Any) -> None:
    """Quantise a file by onnxruntime, the same way everywhere here: networks to ship, and graphs to time.

    ``reader``: a `CalibrationDataReader`. Weights int8 of seven bits with a scale per channel,
    activations uint8.
    """
    from onnxruntime import quantization

    with _quiet():
        quantization.quantize_static(
            str(source), str(target), reader, quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            reduce_range=True, op_types_to_quantize=list(OPS), activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, calibrate_method=quantization.CalibrationMethod.MinMax,
        )  # fmt: skip


def _reader(images: Tensor, name: str) -> Any:
    """What onnxruntime's calibration reads batches from."""
    from onnxruntime.quantization import CalibrationDataReader

    if len(images) < 1:
        raise UsageError("calibration needs at least one image")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(torch.split(images, BATCH_SIZE))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch.contiguous().numpy()}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice on stderr, which is about steps that are taken here."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
