"""A network as a Core ML package, for Apple's devices.

It is converted, not executed here: only Apple's machines can run it.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.errors import ArchitectureError, UsageError
from nas.export.converters import TupleOutputs, silence
from nas.files import one_line
from nas.shape import Shape

__all__ = ["require_coreml", "write_coreml"]


def require_coreml() -> None:
    """Raise unless Core ML packages can be written."""
    try:
        with silence():
            import coremltools  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"Core ML packages need the package {error.name}: "
            "pip install 'nas-toolkit[coreml]', or leave coreml out of --to"
        ) from None


def write_coreml(network: nn.Module, shape: Shape, path: Path, outputs: Sequence[str]) -> None:
    """Write an ML program for one ``image`` of that shape, normalised as in training.

    It computes in float16, Apple's default. The network is left in evaluation mode. Raises
    `ArchitectureError` if an operator cannot be converted.
    """
    with silence():
        import coremltools

        _register_shuffle()
        image = torch.zeros(1, shape.channels, *shape.sides)
        module = TupleOutputs(network.eval())
        traced = torch.jit.trace(module, image)  # type: ignore[no-untyped-call]
        try:
            package = coremltools.convert(
                traced,
                inputs=[coremltools.TensorType(name="image", shape=tuple(image.shape))],
                outputs=[coremltools.TensorType(name=name) for name in outputs],
                # Runs from iOS 15 and macOS 12 on; the form before it knows fewer operators.
                convert_to="mlprogram",
            )
        except (NotImplementedError, ValueError, RuntimeError) as error:
            line = one_line(error)
            raise ArchitectureError(f"coremltools cannot convert this network: {line}") from None
        package.save(str(path))


@cache
def _register_shuffle() -> None:
    """Teach coremltools the channel shuffle: reshape, transpose, reshape.

    Once a process: a second registration under the same name is an error.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    # The registry takes an operator's name from the function's.
    def channel_shuffle(context: Any, node: Any) -> None:
        maps, groups = _get_inputs(context, node, expected=2)
        images, channels, height, width = maps.shape
        # Four dimensions are enough: positions of a map keep their order.
        parts = (images, groups.val, channels // groups.val, height * width)
        split = Builder.reshape(x=maps, shape=parts)
        turned = Builder.transpose(x=split, perm=[0, 2, 1, 3])
        whole = (images, channels, height, width)
        context.add(Builder.reshape(x=turned, shape=whole, name=node.name))

    register_torch_op(channel_shuffle)
