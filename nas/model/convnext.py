"""Torch modules of `nas.ops.convnext`: ConvNeXt's block, and the convolution that cuts squares."""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from nas.model.blocks import ChannelScale
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.model.unified import to_map, to_tokens
from nas.ops import convnext as ops
from nas.shape import Shape

__all__ = ["ConvNeXtBlock", "MapLayerNorm", "Patchify", "TokenFFN", "draw_small"]

SMALL = 0.02
FINE_EPS = 1e-6
"""Of layer norms, as in the authors' code; torch's own is 1e-5."""


def draw_small(part: nn.Module) -> None:
    """Truncated normal weights of deviation 0.02 and zero biases, as the authors draw them."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=SMALL)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class MapLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each position of maps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=FINE_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s), the same out."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Patchify(nn.Module):
    """Convolution (``conv``) whose kernel is its stride, layer norm (``norm``) before or after."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: tuple[int, int],
        stride: int,
        before: bool,
    ) -> None:
        super().__init__()
        self.before = before
        self.below, self.right = -size[0] % stride, -size[1] % stride
        if before:
            self.norm = MapLayerNorm(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, stride, stride)
        if not before:
            self.norm = MapLayerNorm(channels)

    def initialise(self) -> None:
        """The authors' distribution."""
        draw_small(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, *size). Out: (n, channels, h, w), the sides / stride, up."""
        if self.before:
            maps = self.norm(maps)
        if self.below or self.right:
            maps = nn.functional.pad(maps, (0, self.right, 0, self.below))
        out: Tensor = self.conv(maps)
        return out if self.before else self.norm(out)


class TokenFFN(nn.Module):
    """Layer norm, linear to ``middle`` channels, GELU, linear, on maps of one ``size``."""

    def __init__(self, channels: int, *, size: tuple[int, int], middle: int) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.norm = nn.LayerNorm(channels, eps=FINE_EPS)
        self.expand = nn.Linear(channels, middle)
        self.act = nn.GELU()
        self.project = nn.Linear(middle, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, *size), the same out."""
        tokens = self.norm(to_tokens(maps, self.channels, self.size))
        tokens = self.project(self.act(self.expand(tokens)))
        return to_map(tokens, self.channels, self.size)


class ConvNeXtBlock(Block):
    """Depthwise kernel (``depthwise``), feed-forward network (``mlp``), ``scale``, the input."""

    def __init__(self, channels: int, *, size: tuple[int, int], kernel: int, middle: int) -> None:
        parts: dict[str, nn.Module] = {
            # The scale is ahead of all in the authors' state dicts.
            "scale": ChannelScale(channels),
            "depthwise": nn.Conv2d(
                channels, channels, kernel, padding=kernel // 2, groups=channels
            ),
            "mlp": TokenFFN(channels, size=size, middle=middle),
        }
        super().__init__(OrderedDict(parts), nn.Identity())
        self.parts = ("depthwise", "mlp", "scale")

    def initialise(self) -> None:
        """The authors' distribution."""
        draw_small(self)


@recipe.register
def _patchify(op: ops.Patchify, shape: Shape) -> Recipe:
    return partial(
        Patchify,
        shape.channels,
        op.out_shape(shape).channels,
        size=shape.sides,
        stride=op.stride,
        before=op.norm == "before",
    )


@recipe.register
def _convnext(op: ops.ConvNeXtBlock, shape: Shape) -> Recipe:
    return partial(
        ConvNeXtBlock,
        shape.channels,
        size=shape.sides,
        kernel=op.kernel,
        middle=op.middle(shape),
    )
