"""Selective kernel units: two kernels of unlike reach, mixed by weights that the image decides.

Li et al. 2019, Selective Kernel Networks, https://arxiv.org/abs/1903.06586, section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape

__all__ = ["SelectiveBlock"]

LARGEST_WIDTH = 1 << 12


@dataclass(frozen=True, kw_only=True)
class SelectiveBlock(Op):
    """ResNet's block of two 3x3 kernels, the first of them a selective kernel unit.

    The unit has a 3x3 kernel and one of reach 5, a 3x3 dilated by 2. Of their sum the mean over the
    map goes through a layer of ``max(channels * ratio, least)`` units with batch norm, then to two
    weights per channel, of which a softmax is taken. ``split`` gives each kernel one half of the
    input's channels, as timm's skresnet18 does. The path beside is that of `BasicBlock`.
    """

    key = "sk_block"
    # Not `channels`: weights of the two kernels stand behind each other.
    elastic = ()

    channels: int = 0
    stride: int = 1
    ratio: float = 0.0625
    least: int = 32
    split: bool = False
    act: str = "relu"

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=3, channels=self.channels, stride=self.stride, act=self.act
        )
        if not 0 < self.ratio <= 1:
            raise ArchitectureError(
                f"op '{self.key}': ratio must be above 0 and at most 1, not {self.ratio}"
            )
        if not 1 <= self.least <= LARGEST_WIDTH:
            raise ArchitectureError(
                f"op '{self.key}': least must be 1 to {LARGEST_WIDTH}, not {self.least}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for an odd number of channels that is to be split."""
        if self.split and shape.channels % 2:
            raise ArchitectureError(
                f"op '{self.key}': {shape.channels} channels have no halves: leave split out"
            )
        return shape.strided(self.stride, self.channels)

    def width(self, shape: Shape) -> int:
        """Units between the pool and the weights."""
        return max(round(self.out_shape(shape).channels * self.ratio), self.least)

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input; the first map of the unit until both are mixed."""
        out = self.out_shape(shape)
        beside = len(self._beside(shape))
        main = len(self.kernels(shape)) - beside
        held = list(blocks.held(shape, out, main, beside))
        # From the second kernel on, until the sum of the weighted maps.
        for place in range(1, main - 1):
            held[place] += out.elements
        return held

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        out = self.out_shape(shape)
        read = Shape(shape.channels // 2, shape.size) if self.split else shape
        # A dilated kernel has the weights and the work of another one.
        path, _ = blocks.conv(read, out.channels, kernel=3, stride=self.stride, act=self.act)
        pooled = Shape(out.channels, 1)
        reduce, narrow = blocks.conv(pooled, self.width(shape), act=self.act)
        select, weights = blocks.conv(narrow, 2 * out.channels, norm=False)
        return (
            path,
            path,
            blocks.add(out),
            blocks.global_pool(out),
            reduce,
            select,
            blocks.softmax(weights),
            blocks.mul(out),
            blocks.mul(out),
            blocks.add(out),
            blocks.conv(out, out.channels, kernel=3)[0],
            *self._beside(shape),
        )

    def _beside(self, shape: Shape) -> tuple[Kernel, ...]:
        out = self.out_shape(shape)
        if shape == out:
            return (blocks.add(out, self.act),)
        project, now = blocks.conv(shape, out.channels, stride=self.stride)
        return (project, blocks.add(now, self.act))
