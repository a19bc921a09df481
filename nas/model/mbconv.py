"""Torch modules of `nas.ops.mbconv`."""

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

from nas.model.blocks import ConvNorm, Shuffle, SqueezeExcite, shortcut
from nas.model.dispatch import module
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Shape

__all__ = ["Block"]


class Block(nn.Sequential):
    """Named parts in a row, and a ``shortcut`` added to what they give."""

    def __init__(self, parts: "OrderedDict[str, nn.Module]", beside: nn.Module | None) -> None:
        super().__init__(parts)
        self.parts = tuple(parts)
        if beside is not None:
            self.add_module("shortcut", beside)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, *shape). Out: (n, *op.out_shape(shape))."""
        now = maps
        for name in self.parts:
            now = self._modules[name](now)
        beside = self._modules.get("shortcut")
        return now if beside is None else now + cast(Tensor, beside(maps))


@module.register
def _mbconv(op: MBConv, shape: Shape) -> nn.Module:
    channels, middle = op.channels or shape.channels, op.middle(shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if op.expands():
        parts["expand"] = ConvNorm(shape.channels, middle, groups=op.groups, act=op.act)
        if op.groups > 1:
            parts["shuffle"] = Shuffle(op.groups)
    parts["depthwise"] = ConvNorm(middle, middle, kernel=op.kernel, stride=op.stride, groups=middle, act=op.act)
    if op.se:
        parts["se"] = SqueezeExcite(middle, op.squeeze(shape), op.se_act or op.act, op.se_gate)
    parts["project"] = ConvNorm(middle, channels, groups=op.groups)
    return Block(parts, shortcut(op.skip, shape, op.out_shape(shape)))


@module.register
def _fused_mbconv(op: FusedMBConv, shape: Shape) -> nn.Module:
    channels = op.channels or shape.channels
    wide = channels if op.expand == 1 else op.middle(shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["fused"] = ConvNorm(shape.channels, wide, kernel=op.kernel, stride=op.stride, act=op.act)
    if op.se:
        parts["se"] = SqueezeExcite(wide, op.squeeze(shape), op.se_act or op.act, op.se_gate)
    if op.expand != 1:
        parts["project"] = ConvNorm(wide, channels)
    return Block(parts, shortcut(op.skip, shape, op.out_shape(shape)))
