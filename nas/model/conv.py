"""Torch modules of `nas.ops.conv`."""

from typing import cast

from torch import Tensor, nn

from nas.model.blocks import ConvNorm
from nas.model.dispatch import module
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape

__all__ = ["Head"]


@module.register
def _conv(op: Conv, shape: Shape) -> nn.Module:
    channels = op.channels or shape.channels
    return ConvNorm(shape.channels, channels, kernel=op.kernel, stride=op.stride, groups=op.groups, act=op.act)


class Head(nn.Module):
    """Mean over the map, ``dropout`` (0 until `nas.model.build` sets it), ``linear``."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.0)
        self.linear = nn.Linear(channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s). Logits: (n, classes)."""
        return cast(Tensor, self.linear(self.dropout(maps.mean((2, 3)))))


@module.register
def _classifier(op: Classifier, shape: Shape) -> nn.Module:
    return Head(shape.channels, op.classes)
