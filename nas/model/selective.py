"""Torch modules of `nas.ops.selective`."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, activation
from nas.model.dispatch import Recipe, recipe
from nas.model.residual import ResidualBlock, path_beside
from nas.ops import selective as ops
from nas.shape import Shape

__all__ = ["SelectiveBlock", "SelectiveKernel"]


def dilated(
    in_channels: int, channels: int, *, stride: int, dilation: int, act: str
) -> nn.Sequential:
    """3x3 convolution of that dilation (``conv``), ``norm``, ``act``."""
    parts: dict[str, nn.Module] = {
        "conv": nn.Conv2d(
            in_channels, channels, 3, stride, dilation, dilation=dilation, bias=False
        ),
        "norm": nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        "act": activation(act),
    }
    return nn.Sequential(OrderedDict(parts))


class SelectiveKernel(nn.Module):
    """Kernels ``near`` and ``far``, mixed by what ``reduce`` and ``select`` make of their mean.

    Li et al. 2019, https://arxiv.org/abs/1903.06586, equations 1 to 6.
    """

    def __init__(
        self, in_channels: int, channels: int, *, width: int, stride: int, split: bool, act: str
    ) -> None:
        super().__init__()
        self.split = split
        self.channels = channels
        self.read = read = in_channels // 2 if split else in_channels
        self.near = dilated(read, channels, stride=stride, dilation=1, act=act)
        self.far = dilated(read, channels, stride=stride, dilation=2, act=act)
        self.reduce = ConvNorm(channels, width, act=act)
        self.select = nn.Conv2d(width, 2 * channels, 1, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, s, s). Out: (n, channels, s / stride, s / stride), rounded up."""
        first, second = torch.split(maps, self.read, dim=1) if self.split else (maps, maps)
        near, far = self.near(first), self.far(second)
        scores = self.select(self.reduce((near + far).mean((2, 3), keepdim=True)))
        for_near, for_far = torch.split(scores, self.channels, dim=1)
        # A softmax of two is a sigmoid of what they differ by.
        share: Tensor = self.gate(for_near - for_far)
        mixed: Tensor = near * share + far * (1 - share)
        return mixed


class SelectiveBlock(ResidualBlock):
    """A `SelectiveKernel` (``first``), a 3x3 kernel (``second``), and the path beside."""

    last = "second"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        width: int,
        stride: int = 1,
        split: bool = False,
        act: str = "relu",
        project: bool = False,
    ) -> None:
        first = SelectiveKernel(
            in_channels, channels, width=width, stride=stride, split=split, act=act
        )
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["first"] = first
        parts["second"] = ConvNorm(channels, channels, kernel=3)
        super().__init__(parts, path_beside(in_channels, channels, stride, project), act)


@recipe.register
def _selective_block(op: ops.SelectiveBlock, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    return partial(
        SelectiveBlock,
        shape.channels,
        out.channels,
        width=op.width(shape),
        stride=op.stride,
        split=op.split,
        act=op.act,
        project=shape != out,
    )
