"""Torch modules of `nas.ops.conv`."""

from typing import cast

from torch import Tensor, nn

from nas.model.blocks import ConvNorm, activation
from nas.model.dispatch import module
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape

__all__ = ["Head"]


@module.register
def _conv(op: Conv, shape: Shape) -> nn.Module:
    channels = op.channels or shape.channels
    return ConvNorm(shape.channels, channels, kernel=op.kernel, stride=op.stride, groups=op.groups, act=op.act)


class Head(nn.Module):
    """Mean over the map, ``hidden`` where the op has one, ``dropout`` (0 until `nas.model.build` sets it), ``linear``."""

    def __init__(self, channels: int, classes: int, hidden: int = 0, act: str = "") -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, hidden) if hidden else nn.Identity()
        self.act = activation(act if hidden else "")
        self.dropout = nn.Dropout(0.0)
        self.linear = nn.Linear(hidden or channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s). Logits: (n, classes)."""
        return cast(Tensor, self.linear(self.dropout(self.act(self.hidden(maps.mean((2, 3)))))))


@module.register
def _classifier(op: Classifier, shape: Shape) -> nn.Module:
    return Head(shape.channels, op.classes, op.hidden, op.act)
