"""A network as a TFLite file, for LiteRT on Android and elsewhere.

litert-torch converts it, LiteRT runs it here; batch 1.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError, UsageError
from nas.export.converters import TupleOutputs, silence
from nas.files import one_line
from nas.shape import Shape

__all__ = ["require_tflite", "tflite_difference", "write_tflite"]

TOLERANCE = 1e-4
"""Of the largest output: the interpreter's kernels add in another order than torch."""


def require_tflite() -> None:
    """Raise unless TFLite files can be written and run."""
    try:
        with _silence():
            import ai_edge_litert.interpreter  # noqa: F401
            import litert_torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"TFLite files need the package {error.name}: "
            "pip install 'nas-toolkit[tflite]', or leave tflite out of --to"
        ) from None


def write_tflite(network: nn.Module, shape: Shape, path: Path) -> None:
    """Write a model for one image of that shape (1, c, s, s), normalised as in training.

    The network is left in evaluation mode. Raises `ArchitectureError` if it cannot be converted.
    """
    with _silence():
        import litert_torch

        try:
            model = litert_torch.convert(TupleOutputs(network.eval()), (_image(shape),))
            model.export(str(path))
        except Exception as error:  # its compiler has no error class of its own
            line = one_line(error)
            raise ArchitectureError(f"litert-torch cannot convert this network: {line}") from None


def tflite_difference(network: nn.Module, shape: Shape, path: Path) -> float:
    """The largest difference of a file's outputs from the network's, over the largest of those.

    LiteRT runs the file. Raises `ArchitectureError` if the difference is above 1e-4.
    """
    image = _image(shape)
    with torch.no_grad():
        outputs = TupleOutputs(network.eval())(image)
    # Outputs are told apart by their shapes: a file need not keep their order.
    expected = _by_shape(outputs if isinstance(outputs, tuple) else (outputs,))
    actual = _by_shape(_run(path, image))
    if [output.shape for output in actual] != [output.shape for output in expected]:
        raise ArchitectureError("the TFLite file's outputs have other shapes than the network's")
    largest = max(float(output.abs().max()) for output in expected)
    pairs = zip(actual, expected, strict=True)
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs) / largest
    # Not `>`: NaN is above nothing.
    if not difference <= TOLERANCE:
        raise ArchitectureError(
            f"the TFLite file's outputs are {difference:.1e} off, more than {TOLERANCE:g}"
        )
    return difference


def _run(path: Path, image: Tensor) -> list[Tensor]:
    """The outputs of a file, in its own order."""
    with _silence():
        from ai_edge_litert.interpreter import Interpreter

        model = Interpreter(str(path), num_threads=1)
        model.allocate_tensors()
        model.set_tensor(model.get_input_details()[0]["index"], image.numpy())
        model.invoke()
        places = [output["index"] for output in model.get_output_details()]
        return [torch.from_numpy(model.get_tensor(place)) for place in places]


def _by_shape(outputs: Sequence[Tensor]) -> list[Tensor]:
    return sorted(outputs, key=lambda output: output.shape)


def _image(shape: Shape) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(1, shape.channels, *shape.sides, generator=draw)


@contextmanager
def _silence() -> Iterator[None]:
    """Without what the converter prints, and what its compiler writes past Python."""
    own = os.dup(2)
    try:
        with (
            silence(),
            redirect_stdout(StringIO()),
            Path(os.devnull).open("w") as nowhere,
        ):
            # C++ writes to the process's standard error itself, which no redirect of Python's sees.
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(own, 2)
        os.close(own)
