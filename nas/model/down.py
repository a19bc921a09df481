"""Torch modules of `nas.ops.down`: UniNet's down-sampling modules."""

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM
from nas.model.dispatch import module
from nas.model.mbconv import Block
from nas.model.unified import attend, draw_linears, to_map, to_tokens
from nas.ops.down import GlobalDown, LocalDown, LocalGlobalDown
from nas.ops.unified import heads
from nas.shape import Shape

__all__: list[str] = []


def _beside(shape: Shape, channels: int, stride: int) -> nn.Module:
    """3x3 maximum pool where there is a stride (``pool``), 1x1 convolution (``project``)."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pool"] = nn.MaxPool2d(3, stride, 1)
    parts["project"] = nn.Conv2d(shape.channels, channels, 1)
    return nn.Sequential(parts)


def _local(shape: Shape, channels: int, stride: int) -> "OrderedDict[str, nn.Module]":
    parts: dict[str, nn.Module] = {
        "depthwise": nn.Conv2d(shape.channels, shape.channels, 3, stride, 1, groups=shape.channels),
        "norm": nn.BatchNorm2d(shape.channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        "project": nn.Conv2d(shape.channels, channels, 1),
    }
    return OrderedDict(parts)


class TokenConv(nn.Module):
    """1-D convolution over the token sequence, kernel and stride ``stride`` squared: ``linear`` over that many tokens.

    The map is padded below and on the right to a multiple of the stride.
    """

    def __init__(self, shape: Shape, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.size = -(-shape.size // stride)
        self.beyond = self.size * stride - shape.size
        self.linear = nn.Linear(shape.channels * stride**2, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, *shape). Out: (n, channels, size / stride, size / stride), rounded up."""
        padded = nn.functional.pad(maps, (0, self.beyond, 0, self.beyond)) if self.beyond else maps
        grouped = to_tokens(padded).reshape(-1, self.size**2, self.linear.in_features)
        return to_map(self.linear(grouped), self.size)


class AttendingDown(nn.Module):
    """``query`` of the small map attends to all tokens (``kv``); ``project``, and ``shortcut`` added."""

    def __init__(self, query: nn.Module, shape: Shape, out: Shape, stride: int, count: int) -> None:
        super().__init__()
        self.size, self.count = out.size, count
        self.query = query
        self.query_norm = nn.LayerNorm(out.channels)
        self.kv_norm = nn.LayerNorm(shape.channels)
        self.kv = nn.Linear(shape.channels, 2 * out.channels)
        self.project = nn.Linear(out.channels, out.channels)
        self.shortcut = _beside(shape, out.channels, stride)

    def initialise(self) -> None:
        """The authors' distribution of linear layers."""
        draw_linears(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, *shape). Out: (n, *op.out_shape(shape))."""
        queries = self.query_norm(to_tokens(self.query(maps)))
        keys, values = self.kv(self.kv_norm(to_tokens(maps))).chunk(2, dim=2)
        mixed = to_map(self.project(attend(queries, keys, values, self.count)), self.size)
        return mixed + cast(Tensor, self.shortcut(maps))


@module.register
def _local_down(op: LocalDown, shape: Shape) -> nn.Module:
    channels = op.out_shape(shape).channels
    return Block(_local(shape, channels, op.stride), _beside(shape, channels, op.stride))


@module.register
def _local_global_down(op: LocalGlobalDown, shape: Shape) -> nn.Module:
    out = op.out_shape(shape)
    query = nn.Sequential(_local(shape, out.channels, op.stride))
    return AttendingDown(query, shape, out, op.stride, heads(out.channels, op.head_channels))


@module.register
def _global_down(op: GlobalDown, shape: Shape) -> nn.Module:
    out = op.out_shape(shape)
    query = TokenConv(shape, out.channels, op.stride)
    return AttendingDown(query, shape, out, op.stride, heads(out.channels, op.head_channels))
