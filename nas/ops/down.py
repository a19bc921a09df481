"""UniNet's down-sampling modules: local, local-global and global. Each changes size and channels.

Liu et al. 2022, https://arxiv.org/abs/2207.05420; local and local-global layer by layer from the
authors' code, https://github.com/Sense-X/UniNet. All have a path beside: a 3x3 maximum pool at
stride 2, and a 1x1 convolution with bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.ops.unified import LARGEST_HEAD, attend, heads
from nas.shape import Kernel, Op, Shape

__all__ = ["GlobalDown", "LocalDown", "LocalGlobalDown"]


@dataclass(frozen=True, kw_only=True)
class _Down(Op):
    elastic: ClassVar[tuple[str, ...]] = ("channels",)
    once = True

    channels: int = 0
    stride: int = 2

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=1, channels=self.channels, stride=self.stride, act=""
        )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the module's input."""
        beside = len(self._beside(shape))
        main = len(self.kernels(shape)) - beside
        return blocks.held(shape, self.out_shape(shape), main, beside)

    def _beside(self, shape: Shape) -> tuple[Kernel, ...]:
        out = self.out_shape(shape)
        if self.stride == 1:
            # UniNet's fifth stage begins with a module of stride 1: there is nothing to pool.
            return (blocks.conv(shape, out.channels, bias=True, norm=False)[0], blocks.add(out))
        made, now = blocks.pool(shape, self.stride)
        return (made, blocks.conv(now, out.channels, bias=True, norm=False)[0], blocks.add(out))

    def _local(self, shape: Shape) -> tuple[Kernel, ...]:
        made, now = blocks.depthwise(shape, kernel=3, stride=self.stride, bias=True)
        return (made, blocks.conv(now, self.out_shape(shape).channels, bias=True, norm=False)[0])


@dataclass(frozen=True, kw_only=True)
class LocalDown(_Down):
    """3x3 depthwise convolution of the stride, batch norm, 1x1 convolution.

    The path beside is added.
    """

    key = "down_local"

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        return (*self._local(shape), *self._beside(shape))


@dataclass(frozen=True, kw_only=True)
class _AttendingDown(_Down):
    # One linear layer gives keys and values: its leading rows are not those of a narrower module.
    elastic = ()

    head_channels: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.head_channels <= LARGEST_HEAD:
            raise ArchitectureError(
                f"op '{self.key}': head_channels must be 1 to {LARGEST_HEAD}, "
                f"not {self.head_channels}"
            )

    def _queries(self, shape: Shape) -> tuple[Kernel, ...]:
        raise NotImplementedError

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the module's input, queries until there are scores, values until the end."""
        queries = self.out_shape(shape).elements
        values = self.out_shape(shape).channels * shape.positions
        held = list(super().held(shape))
        norm = len(self._queries(shape)) + 1
        # This norm reads the module's input itself.
        held[norm] = queries
        held[norm + 1] += queries
        held[norm + 2] += values
        held[norm + 3] += values
        return held

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        out = self.out_shape(shape)
        keys = Shape(out.channels, shape.size)
        return (
            *self._queries(shape),
            blocks.layer_norm(out),
            blocks.layer_norm(shape),
            blocks.linear(shape, 2 * out.channels),
            *attend(out, keys, heads(out.channels, self.head_channels)),
            blocks.linear(out, out.channels),
            *self._beside(shape),
        )


@dataclass(frozen=True, kw_only=True)
class LocalGlobalDown(_AttendingDown):
    """Queries from a strided 3x3 depthwise convolution attend to all tokens of the full map.

    Layer norms on queries and tokens, a projection, and the path beside.
    """

    key = "down_local_global"

    def _queries(self, shape: Shape) -> tuple[Kernel, ...]:
        return self._local(shape)


@dataclass(frozen=True, kw_only=True)
class GlobalDown(_AttendingDown):
    """Queries from a 1-D convolution over the token sequence attend to all tokens of the full map.

    Ours, as the paper gives no formula: the convolution's kernel and stride are ``stride`` squared
    tokens in row order (the map padded below and on the right to a multiple of the stride); the
    rest is as in `LocalGlobalDown`. Weights do not depend on the resolution.
    """

    key = "down_global"

    def _queries(self, shape: Shape) -> tuple[Kernel, ...]:
        out = self.out_shape(shape)
        return (blocks.linear(Shape(shape.channels * self.stride**2, out.size), out.channels),)
