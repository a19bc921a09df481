"""Torch module of `nas.ops.uib`."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import ConvNorm, shortcut
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.ops import uib as ops
from nas.shape import Shape

__all__ = ["UIB", "ChannelScale"]

CHANNEL_SCALE = 1e-5
"""Where a trained factor starts, as in the released hybrid networks."""


class ChannelScale(nn.Module):
    """One trained factor per channel of a map (``factor``).

    Touvron et al. 2021, https://arxiv.org/abs/2103.17239, section 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), CHANNEL_SCALE))

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        return maps * self.factor[:, None, None]


class UIB(Block):
    """Depthwise ``first``, expansion to ``middle`` channels, depthwise ``kernel``, projection.

    A kernel of 0 is no convolution. ``scale`` puts a `ChannelScale` behind the projection.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        first: int = 0,
        kernel: int = 3,
        stride: int = 1,
        act: str = "relu",
        scale: bool = False,
        skip: str = "none",
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if first:
            early = 1 if kernel else stride
            parts["first"] = ConvNorm(
                in_channels, in_channels, kernel=first, stride=early, groups=in_channels
            )
        parts["expand"] = ConvNorm(in_channels, middle, act=act)
        if kernel:
            parts["depthwise"] = ConvNorm(
                middle, middle, kernel=kernel, stride=stride, groups=middle, act=act
            )
        parts["project"] = ConvNorm(middle, channels)
        if scale:
            parts["scale"] = ChannelScale(channels)
        super().__init__(parts, shortcut(skip, in_channels, channels, stride))


@recipe.register
def _uib(op: ops.UIB, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    return partial(
        UIB,
        shape.channels,
        out.channels,
        middle=op.middle(shape),
        first=op.first,
        kernel=op.kernel,
        stride=op.stride,
        act=op.act,
        scale=op.scale,
        skip="none" if op.skip == "identity" and shape != out else op.skip,
    )
