"""ConvNeXt's block, and the convolution that cuts a map into squares.

Liu et al. 2022, A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545, sections 2.2 to 2.6;
layer by layer from huggingface/pytorch-image-models, timm/models/convnext.py (e4e43190).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape
from nas.size import each_side

__all__ = ["ConvNeXtBlock", "Patchify"]

LARGEST_STRIDE = 16
PLACES = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class Patchify(Op):
    """Convolution with bias whose kernel is its stride, and a layer norm ``before`` or ``after``.

    Ours: a map that the stride does not divide is padded on the right and below.
    """

    key = "patchify"
    elastic = ("channels",)
    once = True

    channels: int = 0
    stride: int = 2
    norm: str = "before"

    def __post_init__(self) -> None:
        blocks.check_settings(self.key, kernel=1, channels=self.channels, stride=1, act="")
        if not 1 <= self.stride <= LARGEST_STRIDE:
            raise ArchitectureError(
                f"op '{self.key}': stride must be 1 to {LARGEST_STRIDE}, not {self.stride}"
            )
        if self.norm not in PLACES:
            raise ArchitectureError(
                f"op '{self.key}': norm must be one of {', '.join(map(repr, PLACES))}, "
                f"not {self.norm[:40]!r}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        out = self.out_shape(shape)
        cut, _ = blocks.conv(shape, out.channels, stride=self.stride, bias=True, norm=False)
        cut = replace(
            cut, kernel=self.stride, in_size=each_side(out.size, lambda side: side * self.stride)
        )
        if self.norm == "after":
            return (cut, blocks.layer_norm(out))
        return (blocks.layer_norm(shape), cut)


@dataclass(frozen=True, kw_only=True)
class ConvNeXtBlock(Op):
    """Depthwise kernel, layer norm, linear, GELU, linear, layer scale, and the input added."""

    key = "convnext"
    elastic = ("expand", "kernel")

    kernel: int = 7
    expand: float = 4

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=self.kernel, channels=0, stride=1, act="gelu", expand=self.expand
        )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def middle(self, shape: Shape) -> int:
        """Channels between both linear layers: ``int(in * expand)``, at least one."""
        return max(1, int(shape.channels * self.expand))

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input."""
        return blocks.held(shape, shape, 5, 1)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        middle = self.middle(shape)
        return (
            blocks.depthwise(shape, kernel=self.kernel, bias=True, norm=False)[0],
            blocks.layer_norm(shape),
            blocks.linear(shape, middle, "gelu"),
            blocks.linear(Shape(middle, shape.size), shape.channels),
            blocks.layer_scale(shape),
            blocks.add(shape),
        )
