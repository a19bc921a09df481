"""Residual blocks of ResNet and those after it, and the pool of their stem.

He et al. 2016, https://arxiv.org/abs/1512.03385, table 1 and figure 5; with groups Xie et al. 2017,
https://arxiv.org/abs/1611.05431; wide Zagoruyko and Komodakis 2016,
https://arxiv.org/abs/1605.07146. The stride is in the spatial kernel, as in torchvision and timm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.errors import ArchitectureError
from nas.ops import blocks, gates
from nas.shape import Kernel, Op, Shape, make_divisible

__all__ = ["BasicBlock", "Bottleneck", "MaxPool", "group_count"]

GATE_PLACES = ("out", "middle")


def group_count(wanted: int, channels: int) -> int:
    """The most groups that divide the channels, not above those wanted.

    A network made narrower keeps its groups as far as they fit.
    """
    largest = max(1, min(wanted, channels))
    return next(count for count in range(largest, 0, -1) if channels % count == 0)


@dataclass(frozen=True, kw_only=True)
class MaxPool(Op):
    """3x3 maximum pool."""

    key = "max_pool"

    stride: int = 2

    def __post_init__(self) -> None:
        blocks.check_settings(self.key, kernel=3, channels=0, stride=self.stride, act="")

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        return (blocks.pool(shape, self.stride)[0],)


@dataclass(frozen=True, kw_only=True)
class _Residual(Op):
    """What both blocks share.

    Where the shape changes, the path beside is a linear 1x1 convolution of the stride. An
    activation follows the sum. One gate at most: squeeze-and-excitation of width ``se`` of the
    gated channels, ``eca``, or a global context block of width ``gc`` of them (see
    `nas.ops.gates`); ``gate_at`` is out, before the sum, or middle, behind the spatial kernel.
    """

    elastic: ClassVar[tuple[str, ...]] = ("channels", "eca", "gc", "kernel", "se")

    kernel: int = 3
    channels: int = 0
    stride: int = 1
    se: float = 0
    eca: bool = False
    gc: float = 0
    gate_at: str = "out"
    act: str = "relu"

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key,
            kernel=self.kernel,
            channels=self.channels,
            stride=self.stride,
            act=self.act,
        )
        gates.check_gates(self.key, se=self.se, eca=self.eca, gc=self.gc)
        if self.gate_at not in GATE_PLACES:
            raise ArchitectureError(
                f"op '{self.key}': gate_at must be one of {', '.join(map(repr, GATE_PLACES))}, "
                f"not {self.gate_at[:40]!r}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def at(self, shape: Shape) -> Op:
        """See `Op`: where nothing is gated, no place is told from another."""
        gated = self.se or self.eca or self.gc
        return self if gated else self.replace(gate_at="out")

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input."""
        out = self.out_shape(shape)
        beside = len(self._beside(shape))
        return blocks.held(shape, out, len(self.kernels(shape)) - beside, beside)

    def _gate(self, now: Shape, place: str) -> tuple[Kernel, ...]:
        if place != self.gate_at:
            return ()
        if self.se:
            return blocks.squeeze_excite(now, gates.squeezed(now.channels, self.se))
        if self.eca:
            return gates.eca(now)
        if self.gc:
            return gates.global_context(now, gates.squeezed(now.channels, self.gc))
        return ()

    def _beside(self, shape: Shape) -> tuple[Kernel, ...]:
        out = self.out_shape(shape)
        if shape == out:
            return (blocks.add(out, self.act),)
        project, now = blocks.conv(shape, out.channels, stride=self.stride)
        return (project, blocks.add(now, self.act))


@dataclass(frozen=True, kw_only=True)
class BasicBlock(_Residual):
    """Two dense kernels (ResNet-18 and 34); the first has the stride and is followed by ``act``."""

    key = "basic_block"

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        channels = self.out_shape(shape).channels
        first, now = blocks.conv(
            shape, channels, kernel=self.kernel, stride=self.stride, act=self.act
        )
        inside = self._gate(now, "middle")
        second, now = blocks.conv(now, channels, kernel=self.kernel)
        return (first, *inside, second, *self._gate(now, "out"), *self._beside(shape))


@dataclass(frozen=True, kw_only=True)
class Bottleneck(_Residual):
    """1x1 to the ``ratio`` of the output's channels, dense or grouped kernel, linear 1x1.

    ``groups``: of the kernel; the most that divide its channels, if these do not.
    """

    key = "bottleneck"
    elastic: ClassVar[tuple[str, ...]] = ("channels", "eca", "gc", "kernel", "ratio", "se")

    ratio: float = 0.25
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ratio <= 8:
            raise ArchitectureError(
                f"op '{self.key}': ratio must be above 0 and at most 8, not {self.ratio}"
            )
        if self.groups < 1:
            raise ArchitectureError(
                f"op '{self.key}': groups must be at least 1, not {self.groups}"
            )

    def middle(self, shape: Shape) -> int:
        """Channels of the spatial kernel, a multiple of 8."""
        return make_divisible(self.out_shape(shape).channels * self.ratio)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        middle = self.middle(shape)
        reduce, now = blocks.conv(shape, middle, act=self.act)
        spatial, now = blocks.conv(
            now,
            middle,
            kernel=self.kernel,
            stride=self.stride,
            groups=group_count(self.groups, middle),
            act=self.act,
        )
        inside = self._gate(now, "middle")
        expand, now = blocks.conv(now, self.out_shape(shape).channels)
        outside = self._gate(now, "out")
        return (reduce, spatial, *inside, expand, *outside, *self._beside(shape))
