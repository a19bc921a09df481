"""Torch modules of `nas.ops.conv`."""

from functools import partial

from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, activation
from nas.model.dispatch import Recipe, recipe
from nas.ops import conv as ops
from nas.shape import Shape

__all__ = ["Head", "MapNorm"]


@recipe.register
def _conv(op: ops.Conv, shape: Shape) -> Recipe:
    channels = op.channels or shape.channels
    return partial(
        ConvNorm,
        shape.channels,
        channels,
        kernel=op.kernel,
        stride=op.stride,
        groups=op.groups,
        act=op.act,
        bias=op.bias,
    )


class PixelConvNorm(ConvNorm):
    """A 1x1 convolution and batch norm of one pixel."""

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (n, in_channels). Out: (n, channels)."""
        maps = pixels[:, :, None, None]
        for part in self:
            maps = part(maps)
        return maps.flatten(1)


class MapNorm(nn.BatchNorm2d):
    """Batch norm by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)


@recipe.register
def _norm(op: ops.Norm, shape: Shape) -> Recipe:
    return partial(MapNorm, shape.channels)


class Head(nn.Module):
    """Mean over the map, ``hidden`` layer if it has a width, ``dropout``, ``linear``.

    The dropout is 0 until a training sets it.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        hidden: int = 0,
        hidden_bias: bool = True,
        hidden_norm: bool = False,
        act: str = "",
    ) -> None:
        super().__init__()
        # Identities keep the names of the state dict equal with and without a hidden layer.
        self.hidden: nn.Module = nn.Identity()
        if hidden and hidden_norm:
            self.hidden = PixelConvNorm(channels, hidden)
        elif hidden:
            self.hidden = nn.Linear(channels, hidden, bias=hidden_bias)
        self.act = activation(act if hidden else "")
        self.dropout = nn.Dropout(0.0)
        self.linear = nn.Linear(hidden or channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s). Logits: (n, classes)."""
        features = self.act(self.hidden(maps.mean((2, 3))))
        logits: Tensor = self.linear(self.dropout(features))
        return logits


class PixelNorm(MapNorm):
    """Batch norm of one pixel."""

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (n, channels), the same out."""
        return super().forward(pixels[:, :, None, None]).flatten(1)


class NormedHead(nn.Module):
    """Mean over the map, ``norm`` (batch or layer), ``dropout``, ``linear``."""

    def __init__(self, channels: int, classes: int, *, norm: str) -> None:
        super().__init__()
        batch = norm == "batch"
        self.norm = PixelNorm(channels) if batch else nn.LayerNorm(channels, eps=1e-6)
        self.dropout = nn.Dropout(0.0)
        self.linear = nn.Linear(channels, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s). Logits: (n, classes)."""
        logits: Tensor = self.linear(self.dropout(self.norm(maps.mean((2, 3)))))
        return logits


@recipe.register
def _classifier(op: ops.Classifier, shape: Shape) -> Recipe:
    if op.norm:
        return partial(NormedHead, shape.channels, op.classes, norm=op.norm)
    if not op.hidden:
        return partial(Head, shape.channels, op.classes)
    return partial(
        Head,
        shape.channels,
        op.classes,
        hidden=op.hidden,
        hidden_bias=op.hidden_bias,
        hidden_norm=op.hidden_norm,
        act=op.act,
    )
