"""A network as a TFLite file, for LiteRT on Android and elsewhere; converted by litert-torch and run here, batch 1."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from nas.errors import ArchitectureError, UsageError
from nas.export.coreml import Tuple
from nas.files import one_line
from nas.shape import Shape

__all__ = ["require_tflite", "tflite_difference", "write_tflite"]

TOLERANCE = 1e-4
"""Of the largest output: the interpreter's kernels add in another order than torch."""


def require_tflite() -> None:
    """Raise unless TFLite files can be written and run."""
    try:
        with _hushed():
            import ai_edge_litert.interpreter  # noqa: F401
            import litert_torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"TFLite files need the package {error.name}: pip install 'nas-toolkit[tflite]', or leave tflite out of --to"
        ) from None


def write_tflite(network: nn.Module, shape: Shape, path: Path) -> None:
    """Write a model for one image of that shape (1, c, s, s), normalised as in training.

    The network is left in evaluation mode. Raises `ArchitectureError` where it cannot be converted.
    """
    with _hushed():
        import litert_torch

        try:
            litert_torch.convert(Tuple(network.eval()), (_image(shape),)).export(str(path))
        except Exception as error:  # whatever its compiler raises
            line = one_line(error)
            raise ArchitectureError(f"litert-torch cannot convert this network: {line}") from None


def tflite_difference(network: nn.Module, shape: Shape, path: Path) -> float:
    """The file, run by LiteRT: the largest difference of its outputs from the network's, in units of the largest.

    Outputs are told apart by their shapes. More than 1e-4 raises `ArchitectureError`.
    """
    image = _image(shape)
    with torch.no_grad():
        found = Tuple(network.eval())(image)
    with _hushed():
        from ai_edge_litert.interpreter import Interpreter

        model = Interpreter(str(path), num_threads=1)
        model.allocate_tensors()
        model.set_tensor(model.get_input_details()[0]["index"], image.numpy())
        model.invoke()
        made = [
            torch.from_numpy(model.get_tensor(output["index"]))
            for output in model.get_output_details()
        ]
    due = sorted(found if isinstance(found, tuple) else (found,), key=lambda one: one.shape)
    made = sorted(made, key=lambda one: one.shape)
    if [one.shape for one in made] != [one.shape for one in due]:
        raise ArchitectureError("the TFLite file's outputs have other shapes than the network's")
    largest = max(float(one.abs().max()) for one in due)
    difference = max(float((a - b).abs().max()) for a, b in zip(made, due, strict=True)) / largest
    if not difference <= TOLERANCE:
        raise ArchitectureError(
            f"the TFLite file's outputs are {difference:.1e} off, more than {TOLERANCE:g}"
        )
    return difference


def _image(shape: Shape) -> torch.Tensor:
    return torch.randn(
        1, shape.channels, shape.size, shape.size, generator=torch.Generator().manual_seed(0)
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """The converter prints its stages, and its compiler writes to the process's own standard error."""
    level, own = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            Path(os.devnull).open("w") as nowhere,
        ):
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        logging.disable(level)
