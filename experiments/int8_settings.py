"""Which settings of static quantisation are fast here.

    # two minutes; keep the machine quiet
    python experiments/int8_settings.py --network mobilenet_v2

One network runs in onnxruntime on one thread, all kinds interleaved. Calibrated on random numbers:
speeds are true, outputs mean nothing. `nas export --int8` and `nas latency build --dtype int8` use
the first kind, see `nas.export.int8`.
"""

import argparse
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
    shape_inference,
)

from nas.export.int8 import OPS
from nas.export.onnx import write_onnx
from nas.measure.runners import OnnxRuntime
from nas.measure.timing import Subject, measure
from nas.model import build
from nas.run.network import named_network

UNSIGNED, SIGNED = QuantType.QUInt8, QuantType.QInt8
KINDS: dict[str, dict[str, Any]] = {
    "U8S8, 7 bits, per channel": {
        "activation_type": UNSIGNED,
        "weight_type": SIGNED,
        "reduce_range": True,
    },
    "U8S8, 8 bits, per channel": {"activation_type": UNSIGNED, "weight_type": SIGNED},
    "U8S8, 7 bits, per tensor": {
        "activation_type": UNSIGNED,
        "weight_type": SIGNED,
        "reduce_range": True,
        "per_channel": False,
    },
    "U8S8, 7 bits, all operators": {
        "activation_type": UNSIGNED,
        "weight_type": SIGNED,
        "reduce_range": True,
        "op_types_to_quantize": None,
    },
    "U8U8, 8 bits, per channel": {"activation_type": UNSIGNED, "weight_type": UNSIGNED},
    "S8S8, 8 bits, per channel": {"activation_type": SIGNED, "weight_type": SIGNED},
}


class Random(CalibrationDataReader):
    """Two images of noise."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        rng = np.random.default_rng(0)
        self._left = [{"image": rng.normal(size=(1, *shape)).astype(np.float32)} for _ in range(2)]

    def get_next(self) -> dict[str, Any] | None:
        """The next sample, None after the last."""
        return self._left.pop() if self._left else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--network", default="mobilenet_v2")
    options.add_argument("--resolution", type=int, default=224)
    given = options.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    architecture = named_network(given.network, resolution=given.resolution)
    shape = architecture.input.channels, architecture.input.size, architecture.input.size
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_onnx(build(architecture), architecture.input, folder / "float.onnx", {})
        ready = folder / "ready.onnx"
        shape_inference.quant_pre_process(
            str(folder / "float.onnx"), str(ready), skip_symbolic_shape=True
        )
        subjects = [Subject("float32", (folder / "float.onnx").read_bytes, looped=True)]
        for number, (kind, settings) in enumerate(KINDS.items()):
            file = folder / f"{number}.onnx"
            common = {"per_channel": True, "op_types_to_quantize": list(OPS)}
            quantize_static(
                str(ready),
                str(file),
                Random(shape),
                quant_format=QuantFormat.QDQ,
                **(common | settings),
            )
            subjects.append(Subject(kind, file.read_bytes, looped=True))
        for block in measure(subjects, OnnxRuntime(1), seconds_per_row=0.7):
            by_time = sorted(block.timings.items(), key=lambda item: item[1].latency_ms)
            for kind, timing in by_time:
                print(
                    f"{given.network} {architecture.input}  {kind:28} {timing.latency_ms:7.2f} ± "
                    f"{timing.sd_ms:.2f} ms"
                )


if __name__ == "__main__":
    main()
