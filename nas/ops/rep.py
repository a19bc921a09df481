"""A convolution that is trained as a sum of branches, and folded into one to be shipped.

RepVGG (Ding et al. 2021, https://arxiv.org/abs/2101.03697, sections 3.2 and 3.3) and MobileOne
(Vasu et al. 2023, https://arxiv.org/abs/2206.04040, section 3.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape

__all__ = ["RepConv"]

MOST_BRANCHES = 16


@dataclass(frozen=True, kw_only=True)
class RepConv(Op):
    """Convolution with activation, in training a sum of branches with a batch norm each.

    The branches are ``branches`` convolutions of that ``kernel``, a 1x1 convolution where the
    kernel is larger, and the norm alone where the shape stays. ``depthwise`` gives each channel one
    filter, and keeps the channels. ``deploy`` is the folded form: a convolution with bias.

    Params, MACs, memory and latency of both forms are those of the folded one, which is what ships;
    what a training runs is told by `trained`.
    """

    key = "rep_conv"
    elastic = ("branches", "channels", "kernel")

    kernel: int = 3
    channels: int = 0
    stride: int = 1
    depthwise: bool = False
    branches: int = 1
    act: str = "relu"
    deploy: bool = False

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=self.kernel, channels=self.channels, stride=self.stride, act=self.act
        )
        if not 1 <= self.branches <= MOST_BRANCHES:
            raise ArchitectureError(
                f"op '{self.key}': branches must be 1 to {MOST_BRANCHES}, not {self.branches}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a depthwise convolution to another number of channels."""
        out = shape.strided(self.stride, self.channels)
        if self.depthwise and out.channels != shape.channels:
            raise ArchitectureError(
                f"op '{self.key}': a depthwise convolution keeps the {shape.channels} channels, "
                f"and cannot make {out.channels} of them: leave channels or depthwise out"
            )
        return out

    def at(self, shape: Shape) -> Op:
        """See `Op`: what is folded has no branches."""
        return self.replace(branches=1) if self.deploy else self

    @property
    def deployed(self) -> Op:
        """See `Op`: the folded form."""
        return self.replace(deploy=True, branches=1)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`: the folded convolution."""
        return (self._conv(shape, self.kernel, self.act, folded=True),)

    def trained(self, shape: Shape) -> Sequence[Kernel]:
        """See `Op`: the branches, their sum, the activation of the sum."""
        if self.deploy:
            return self.kernels(shape)
        out = self.out_shape(shape)
        found = [self._conv(shape, self.kernel) for _ in range(self.branches)]
        if self.kernel > 1:
            found.append(self._conv(shape, 1))
        if shape == out:
            found.append(blocks.batch_norm(shape))
        sums = [blocks.add(out) for _ in found[1:]]
        return (*found, *sums, blocks.activation(out, self.act))

    def _conv(self, shape: Shape, kernel: int, act: str = "", folded: bool = False) -> Kernel:
        if self.depthwise:
            # Raises if the channels are told to change.
            self.out_shape(shape)
            return blocks.depthwise(
                shape, kernel=kernel, stride=self.stride, act=act, bias=folded, norm=not folded
            )[0]
        return blocks.conv(
            shape,
            self.out_shape(shape).channels,
            kernel=kernel,
            stride=self.stride,
            act=act,
            bias=folded,
            norm=not folded,
        )[0]
