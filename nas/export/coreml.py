"""A network as a Core ML package, for Apple's devices. Converted, not executed here: only they can run it."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.errors import ArchitectureError, UsageError
from nas.files import one_line
from nas.shape import Shape

__all__ = ["Tuple", "require_coreml", "write_coreml"]


def require_coreml() -> None:
    """Raise unless Core ML packages can be written."""
    try:
        with _hushed():
            import coremltools  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"Core ML packages need the package {error.name}: pip install 'nas-toolkit[coreml]', or leave coreml out of --to"
        ) from None


def write_coreml(network: nn.Module, shape: Shape, path: Path, outputs: Sequence[str]) -> None:
    """Write an ML program for one ``image`` of that shape, normalised as in training; float16 inside, Apple's default.

    The network is left in evaluation mode. Raises `ArchitectureError` where an operator cannot be
    converted.
    """
    with _hushed():
        import coremltools

        _register_shuffle()
        given = torch.zeros(1, shape.channels, shape.size, shape.size)
        traced = torch.jit.trace(Tuple(network.eval()), given)  # type: ignore[no-untyped-call]
        try:
            made = coremltools.convert(
                traced, inputs=[coremltools.TensorType(name="image", shape=tuple(given.shape))],
                outputs=[coremltools.TensorType(name=name) for name in outputs], convert_to="mlprogram",
            )  # fmt: skip
        except (NotImplementedError, ValueError, RuntimeError) as error:
            line = one_line(error)
            raise ArchitectureError(f"coremltools cannot convert this network: {line}") from None
        made.save(str(path))


@cache
def _register_shuffle() -> None:
    """Teach coremltools the channel shuffle, which it does not know: reshape, transpose, reshape."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    def channel_shuffle(context: Any, node: Any) -> None:
        maps, groups = _get_inputs(context, node, expected=2)
        images, channels, height, width = maps.shape
        split = Builder.reshape(
            x=maps, shape=(images, groups.val, channels // groups.val, height * width)
        )
        turned = Builder.transpose(x=split, perm=[0, 2, 1, 3])
        context.add(
            Builder.reshape(x=turned, shape=(images, channels, height, width), name=node.name)
        )

    register_torch_op(channel_shuffle)


class Tuple(nn.Module):
    """Maps as a tuple, which a trace can return."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """images: (1, c, s, s). What the network gives."""
        found = self.network(images)
        return tuple(found) if isinstance(found, list) else found


@contextmanager
def _hushed() -> Iterator[None]:
    """Off Apple's machines coremltools logs what it cannot load, and warns of every torch newer than it knows."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stderr(StringIO()):  # progress bars
                yield
    finally:
        logging.disable(level)
