"""Torch modules of `nas.ops.down`: UniNet's down-sampling modules."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.model.unified import Attend, draw_linears, to_map, to_tokens
from nas.ops import down as ops
from nas.ops.unified import heads
from nas.shape import Shape

__all__ = ["GlobalDown", "LocalDown", "LocalGlobalDown"]


def pool_and_project(in_channels: int, channels: int, stride: int) -> nn.Module:
    """3x3 maximum pool where there is a stride (``pool``), 1x1 convolution (``project``)."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pool"] = nn.MaxPool2d(3, stride, 1)
    parts["project"] = nn.Conv2d(in_channels, channels, 1)
    return nn.Sequential(parts)


def local_convolutions(in_channels: int, channels: int, stride: int) -> OrderedDict[str, nn.Module]:
    """3x3 depthwise convolution of the stride, batch norm, 1x1 convolution."""
    parts: dict[str, nn.Module] = {
        "depthwise": nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels),
        "norm": nn.BatchNorm2d(in_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        "project": nn.Conv2d(in_channels, channels, 1),
    }
    return OrderedDict(parts)


class TokenConv(nn.Module):
    """1-D convolution over the token sequence, its kernel and its stride ``stride`` squared.

    As they are equal, it is one ``linear`` layer over that many tokens. The map is padded below and
    on the right to a multiple of the stride.
    """

    def __init__(
        self, in_channels: int, channels: int, *, size: tuple[int, int], stride: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.size = -(-size[0] // stride), -(-size[1] // stride)
        self.padded = self.size[0] * stride, self.size[1] * stride
        self.below, self.right = self.padded[0] - size[0], self.padded[1] - size[1]
        self.linear = nn.Linear(in_channels * stride**2, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, *size). Out: (n, channels, h, w), the sides / stride, up."""
        if self.below or self.right:
            maps = nn.functional.pad(maps, (0, self.right, 0, self.below))
        tokens = to_tokens(maps, self.in_channels, self.padded)
        grouped = tokens.reshape(-1, self.size[0] * self.size[1], self.linear.in_features)
        return to_map(self.linear(grouped), self.channels, self.size)


class AttendingDown(nn.Module):
    """``query`` of the small map attends to all tokens (``kv``); ``project``; plus ``shortcut``."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        query: nn.Module,
        size: tuple[int, int],
        stride: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.in_size = size
        self.size = -(-size[0] // stride), -(-size[1] // stride)
        self.query = query
        self.query_norm = nn.LayerNorm(channels)
        self.kv_norm = nn.LayerNorm(in_channels)
        self.kv = nn.Linear(in_channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        queries, keys = self.size[0] * self.size[1], size[0] * size[1]
        self.attend = Attend(channels, queries=queries, keys=keys, heads=heads)
        self.shortcut = pool_and_project(in_channels, channels, stride)

    def initialise(self) -> None:
        """The authors' distribution of linear layers."""
        draw_linears(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, *size). Out: (n, channels, h, w), the sides / stride, up."""
        queries = self.query_norm(to_tokens(self.query(maps), self.channels, self.size))
        pairs = self.kv(self.kv_norm(to_tokens(maps, self.in_channels, self.in_size)))
        keys, values = torch.split(pairs, self.channels, dim=2)
        mixed = self.project(self.attend(queries, keys, values))
        beside: Tensor = self.shortcut(maps)
        return to_map(mixed, self.channels, self.size) + beside


class LocalDown(Block):
    """3x3 depthwise convolution of the stride, batch norm, 1x1 convolution.

    Its shortcut is the pooled and projected input.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        beside = pool_and_project(in_channels, channels, stride)
        super().__init__(local_convolutions(in_channels, channels, stride), beside)


class LocalGlobalDown(AttendingDown):
    """Queries from a strided 3x3 depthwise convolution."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: tuple[int, int],
        stride: int,
        heads: int,
    ) -> None:
        query = nn.Sequential(local_convolutions(in_channels, channels, stride))
        super().__init__(in_channels, channels, query=query, size=size, stride=stride, heads=heads)


class GlobalDown(AttendingDown):
    """Queries from a 1-D convolution over the token sequence."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: tuple[int, int],
        stride: int,
        heads: int,
    ) -> None:
        query = TokenConv(in_channels, channels, size=size, stride=stride)
        super().__init__(in_channels, channels, query=query, size=size, stride=stride, heads=heads)


@recipe.register
def _local_down(op: ops.LocalDown, shape: Shape) -> Recipe:
    return partial(LocalDown, shape.channels, op.out_shape(shape).channels, stride=op.stride)


def _attending(
    kind: type[AttendingDown], op: ops.LocalGlobalDown | ops.GlobalDown, shape: Shape
) -> Recipe:
    channels = op.out_shape(shape).channels
    return partial(
        kind,
        shape.channels,
        channels,
        size=shape.sides,
        stride=op.stride,
        heads=heads(channels, op.head_channels),
    )


@recipe.register
def _local_global_down(op: ops.LocalGlobalDown, shape: Shape) -> Recipe:
    return _attending(LocalGlobalDown, op, shape)


@recipe.register
def _global_down(op: ops.GlobalDown, shape: Shape) -> Recipe:
    return _attending(GlobalDown, op, shape)
