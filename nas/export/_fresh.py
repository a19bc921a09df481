"""What exported files do, seen by an interpreter that cannot import the toolkit.

    python -I -B _fresh.py REQUEST.json

`nas.export.verification` runs it. REQUEST holds ``path``, folders to import torch from, and
``jobs``, see `Request`. It prints a list, what was `Measured` of each job.
"""

import importlib.util
import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batches = list[Tensor]
    """A batch of images for each size of input."""
    Outputs = list[list[Tensor]]
    """What a network gives for each batch."""

__all__ = ["Measured", "Request"]

BLOCKED = ("nas", "search_spaces", "latency_tables")
SCALE = 0.1
"""Outputs that are all smaller are compared as if the largest were this."""


class Request(TypedDict):
    """Files made of one network, and files of tensors to try them with."""

    python: str | None
    onnx: str | None
    function: str
    """The function of the Python file that makes the network."""
    weights: str
    images: str
    outputs: str
    """What the network gives for the images: a list of tensors for each batch."""


class Measured(TypedDict, total=False):
    """What the files of one job did; a key is there if its file is.

    Differences are the largest of all outputs, relative to the largest value. None is one that is
    not a number, which JSON cannot say.
    """

    params: int
    macs: float
    python: float | None
    onnx: float | None


class _Blocked(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in BLOCKED:
            raise ImportError(f"an exported file must not import {fullname}")


def _difference(actual: "Tensor", expected: "Tensor") -> float | None:
    """The largest difference relative to the largest value; None if it is not a number.

    Relative to `SCALE` where all are smaller: a logit near zero is the difference of larger terms,
    and is no nearer to another order of summing than they are.
    """
    if actual.shape != expected.shape or not actual.isfinite().all():
        return None
    if not actual.is_floating_point():
        return 0.0  # classes of a mask, which `_onnx` compares with the file's own logits
    return float((actual - expected).abs().max() / max(float(expected.abs().max()), SCALE))


def _largest_difference(actual: "Outputs", expected: "Outputs") -> float | None:
    """Over all sizes and all outputs; None if one is not a number."""
    if [len(outputs) for outputs in actual] != [len(outputs) for outputs in expected]:
        return None
    largest = 0.0
    for ours, theirs in zip(actual, expected, strict=True):
        for output, wanted in zip(ours, theirs, strict=True):
            difference = _difference(output, wanted)
            if difference is None:
                return None
            largest = max(largest, difference)
    return largest


def _network(request: Request, file: str) -> "nn.Module":
    """What the Python file builds, with the weights of the source."""
    import torch

    spec = importlib.util.spec_from_file_location("exported", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    network: nn.Module = getattr(exported, request["function"])()
    network.load_state_dict(torch.load(request["weights"], weights_only=True))
    return network.eval()


def _python(network: "nn.Module", images: "Batches", expected: "Outputs") -> Measured:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    actual = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            network(images[0][:1])
        for batch in images:
            outputs = network(batch)
            actual.append(outputs if isinstance(outputs, list) else [outputs])
    return {
        "params": sum(value.numel() for value in network.parameters()),
        # torch counts a multiplication and an addition as two.
        "macs": counter.get_total_flops() / 2,
        "python": _largest_difference(actual, expected),
    }


def _onnx(file: str, images: "Batches", expected: "Outputs") -> Measured:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(batch: "Tensor") -> "list[Tensor]":
        # A batch of one and the rest: a file that holds the batch size of its export fails here.
        first = session.run(names, {"image": batch[:1].numpy()})
        rest = session.run(names, {"image": batch[1:].numpy()})
        pairs = zip(map(torch.from_numpy, first), map(torch.from_numpy, rest), strict=True)
        return [torch.cat(pair) for pair in pairs]

    actual = [run(batch) for batch in images]
    if names[-1] == "mask" and not all(_mask_is_largest(*outputs) for outputs in actual):
        return {"onnx": None}
    return {"onnx": _largest_difference(actual, expected)}


def _mask_is_largest(logits: "Tensor", mask: "Tensor") -> bool:
    """Whether the mask names the largest of the file's own logits.

    The source's mask may differ: two logits that are equal but for rounding fall either way.
    """
    return bool((mask.numpy() == logits.numpy().argmax(1)).all())


def _look(request: Request) -> Measured:
    import torch

    images = torch.load(request["images"], weights_only=True)
    expected = torch.load(request["outputs"], weights_only=True)
    measured: Measured = {}
    if request["python"]:
        network = _network(request, request["python"])
        measured.update(_python(network, images, expected))
    if request["onnx"]:
        measured.update(_onnx(request["onnx"], images, expected))
    return measured


def _main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text())
    sys.meta_path.insert(0, _Blocked())
    # An isolated interpreter does not look into a user's own site-packages.
    sys.path += document["path"]
    print(json.dumps([_look(request) for request in document["jobs"]]))


if __name__ == "__main__":
    _main()
