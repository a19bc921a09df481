"""Gates beside squeeze-and-excitation: efficient channel attention and the global context block."""

import math

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Shape

__all__ = ["check_gates", "eca", "eca_kernel", "global_context", "squeezed"]

SMALLEST_ECA = 3
"""Ours: with a kernel of 1 no channel would hear of another."""


def check_gates(key: str, **gates: float | bool) -> None:
    """Raise unless at most one gate is set, and ratios are from 0 to 1."""
    for name, value in gates.items():
        if not 0 <= value <= 1:
            raise ArchitectureError(f"op '{key}': {name} must be a ratio from 0 to 1, not {value}")
    chosen = [f"{name}={value}" for name, value in gates.items() if value]
    if len(chosen) > 1:
        raise ArchitectureError(
            f"op '{key}' takes one gate, not {' and '.join(chosen)}: leave one of them out"
        )


def eca_kernel(channels: int) -> int:
    """The odd number nearest to ``log2(channels) / 2 + 1 / 2``, the smaller of two; at least 3.

    Wang et al. 2020, https://arxiv.org/abs/1910.03151, equation 12 with gamma 2 and b 1. So the 16
    blocks of ResNet-50 get the paper's 80 parameters; the authors' code rounds 6 up and has 86.
    """
    reach = math.log2(channels) / 2 + 1 / 2
    below = 2 * math.ceil((reach - 2) / 2) + 1
    return max(SMALLEST_ECA, below)


def eca(shape: Shape) -> tuple[Kernel, ...]:
    """Pool, one filter that slides over the channels, sigmoid, scale."""
    reach = eca_kernel(shape.channels)
    slide = Kernel(
        kind="linear",
        in_channels=reach,
        out_channels=1,
        in_size=1,
        out_size=1,
        # The same few weights make each channel's gate from its neighbours.
        rows=shape.channels,
        act="sigmoid",
    )
    return (blocks.global_pool(shape), slide, blocks.mul(shape))


def squeezed(channels: int, ratio: float) -> int:
    """Width of a bottleneck between so many channels, at least 1."""
    return max(1, round(channels * ratio))


def global_context(shape: Shape, width: int, act: str = "relu") -> tuple[Kernel, ...]:
    """A mean weighted by a softmax over positions, a bottleneck of that width, added to all.

    Cao et al. 2019, https://arxiv.org/abs/1904.11492, figure 4d.
    """
    positions = Shape(shape.positions, 1)
    pooled = Shape(shape.channels, 1)
    narrow = Shape(width, 1)
    return (
        blocks.conv(shape, 1, bias=True, norm=False)[0],
        blocks.softmax(positions),
        blocks.mul(shape),
        blocks.global_pool(shape),
        blocks.linear(pooled, width),
        blocks.layer_norm(narrow, act),
        blocks.linear(narrow, shape.channels),
        blocks.add(shape),
    )
