"""Ghost bottlenecks: half of the channels are convolved, the others are cheap functions of those.

Han et al. 2020, GhostNet: More Features from Cheap Operations, https://arxiv.org/abs/1911.11907,
sections 3.1 and 3.2; widths as in the authors' code (huawei-noah/Efficient-AI-Backbones).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks, gates
from nas.shape import Kernel, Op, Shape, make_divisible

__all__ = ["GhostBottleneck"]

DIVISOR = 4
"""Of channels in GhostNet."""


@dataclass(frozen=True, kw_only=True)
class GhostBottleneck(Op):
    """Ghost module that expands, depthwise kernel if strided, gate, linear ghost module, sum.

    Where the shape changes, the path beside is a depthwise kernel of the stride and a linear 1x1
    convolution. ``kernel`` is that of these two; ``cheap`` that of the depthwise convolution which
    makes the second half of a module's channels. The gate is squeeze-and-excitation with a hard
    sigmoid, its width ``se`` of the expanded channels, or ``eca``.
    """

    key = "ghost"
    # Not `expand` and `channels`: the two halves stand behind each other, so the leading channels
    # of a wide module are not those of a narrow one.
    elastic = ("cheap", "eca", "kernel", "se")

    kernel: int = 3
    cheap: int = 3
    expand: float = 6
    channels: int = 0
    stride: int = 1
    se: float = 0
    eca: bool = False
    act: str = "relu"

    def __post_init__(self) -> None:
        for kernel in (self.kernel, self.cheap):
            blocks.check_settings(
                self.key,
                kernel=kernel,
                channels=self.channels,
                stride=self.stride,
                act=self.act,
                expand=self.expand,
            )
        gates.check_gates(self.key, se=self.se, eca=self.eca)

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a single channel, which has no half."""
        out = shape.strided(self.stride, self.channels)
        if out.channels < 2:
            raise ArchitectureError(f"op '{self.key}' needs at least 2 channels, not {out}")
        return out

    def at(self, shape: Shape) -> Op:
        """See `Op`: without a stride and between equal shapes there is no depthwise kernel."""
        idle = self.stride == 1 and shape == self.out_shape(shape)
        return self.replace(kernel=3) if idle else self

    def middle(self, shape: Shape) -> int:
        """Channels between both modules: ``in * expand``, a fraction rounded to a multiple of 4."""
        wide = shape.channels * self.expand
        whole = float(self.expand).is_integer()
        return max(2, round(wide) if whole else make_divisible(wide, DIVISOR))

    def squeeze(self, shape: Shape) -> int:
        """Width of squeeze-and-excitation, a multiple of 4; 0 for none."""
        return make_divisible(self.middle(shape) * self.se, DIVISOR) if self.se else 0

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input."""
        out = self.out_shape(shape)
        beside = len(self._beside(shape))
        return blocks.held(shape, out, len(self.kernels(shape)) - beside, beside)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        found, now = self._module(shape, self.middle(shape), self.act)
        if self.stride > 1:
            # No activation: the authors' code has none there.
            made, now = blocks.depthwise(now, kernel=self.kernel, stride=self.stride)
            found.append(made)
        if self.se:
            found += blocks.squeeze_excite(now, self.squeeze(shape), gate="hsigmoid")
        if self.eca:
            found += gates.eca(now)
        more, now = self._module(now, self.out_shape(shape).channels)
        return (*found, *more, *self._beside(shape))

    def _module(self, shape: Shape, channels: int, act: str = "") -> tuple[list[Kernel], Shape]:
        """1x1 convolution to half of the channels, depthwise kernel of those, both halves joined.

        Of an odd number the first half is the larger one.
        """
        first, half = blocks.conv(shape, -(-channels // 2), act=act)
        cheap, _ = blocks.depthwise(half, kernel=self.cheap, act=act)
        out = Shape(channels, shape.size)
        return [first, cheap, blocks.concat(out)], out

    def _beside(self, shape: Shape) -> tuple[Kernel, ...]:
        out = self.out_shape(shape)
        if shape == out:
            return (blocks.add(out),)
        made, now = blocks.depthwise(shape, kernel=self.kernel, stride=self.stride)
        project, now = blocks.conv(now, out.channels)
        return (made, project, blocks.add(now))
