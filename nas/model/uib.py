"""Torch module of `nas.ops.uib`."""

from collections import OrderedDict
from functools import partial

from torch import nn

from nas.model.blocks import ChannelScale, ConvNorm, shortcut
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.ops import uib as ops
from nas.shape import Shape

__all__ = ["UIB"]


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
