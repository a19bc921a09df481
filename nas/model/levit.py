"""Torch modules of `nas.ops.levit`: LeViT's attention."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import ConvNorm, activation
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.model.scores import OffsetBias
from nas.ops import levit as ops
from nas.shape import Shape

__all__ = ["LevitAttention", "LevitDown"]


def weighted(queries: Tensor, keys: Tensor, values: Tensor, bias: OffsetBias, width: int) -> Tensor:
    """queries, keys, values: (n, heads, width, positions). Out: (n, heads, width, queries).

    ``width`` is that of queries and keys; values may have another.
    """
    scores = bias(queries.transpose(2, 3) @ keys * width**-0.5)
    rows: Tensor = scores.softmax(dim=-1) @ values.transpose(2, 3)
    return rows.transpose(2, 3)


class SelfScores(nn.Module):
    """Queries, keys and values in one convolution (``qkv``), weighted, and an activation.

    Maps are of one ``size``.
    """

    def __init__(
        self, channels: int, *, size: int, heads: int, key: int, value: int, act: str
    ) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.widths = [key, key, value]
        # Ahead of all parts, as the authors' state dicts have it.
        self.bias = OffsetBias(heads, size=size)
        self.qkv = ConvNorm(channels, heads * sum(self.widths))
        self.act = activation(act)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size). Out: (n, heads * value, size, size)."""
        heads = self.qkv(maps).reshape(-1, self.heads, sum(self.widths), self.size**2)
        queries, keys, values = torch.split(heads, self.widths, dim=2)
        out = weighted(queries, keys, values, self.bias, self.widths[0])
        mixed = out.reshape(-1, self.heads * self.widths[2], self.size, self.size)
        active: Tensor = self.act(mixed)
        return active


class LevitAttention(Block):
    """Attention (``attend``), projection (``project``), and the input."""

    def __init__(
        self, channels: int, *, size: int, heads: int, key: int, value: int, act: str
    ) -> None:
        parts: dict[str, nn.Module] = {
            "attend": SelfScores(channels, size=size, heads=heads, key=key, value=value, act=act),
            "project": ConvNorm(heads * value, channels),
        }
        super().__init__(OrderedDict(parts), nn.Identity())


class LevitDown(nn.Module):
    """Queries of every second position (``query``), keys and values of all (``kv``)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: int,
        stride: int,
        heads: int,
        key: int,
        value: int,
        act: str,
    ) -> None:
        super().__init__()
        self.size, self.small, self.heads = size, -(-size // stride), heads
        self.key, self.value = key, value
        self.bias = OffsetBias(heads, size=size, stride=stride)
        self.kv = ConvNorm(in_channels, heads * (key + value))
        self.pick = nn.AvgPool2d(1, stride) if stride > 1 else nn.Identity()
        self.query = ConvNorm(in_channels, heads * key)
        self.act = activation(act)
        self.project = ConvNorm(heads * value, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, size, size). Out: (n, channels, small, small)."""
        pairs = self.kv(maps).reshape(-1, self.heads, self.key + self.value, self.size**2)
        keys, values = torch.split(pairs, [self.key, self.value], dim=2)
        queries = self.query(self.pick(maps)).reshape(-1, self.heads, self.key, self.small**2)
        mixed = weighted(queries, keys, values, self.bias, self.key)
        mixed = mixed.reshape(-1, self.heads * self.value, self.small, self.small)
        out: Tensor = self.project(self.act(mixed))
        return out


@recipe.register
def _levit_attention(op: ops.LevitAttention, shape: Shape) -> Recipe:
    return partial(
        LevitAttention,
        shape.channels,
        size=shape.side(op.key),
        heads=op.heads,
        key=op.key_channels,
        value=op.value_channels,
        act=op.act,
    )


@recipe.register
def _levit_down(op: ops.LevitDown, shape: Shape) -> Recipe:
    return partial(
        LevitDown,
        shape.channels,
        op.out_shape(shape).channels,
        size=shape.side(op.key),
        stride=op.stride,
        heads=op.heads,
        key=op.key_channels,
        value=op.value_channels,
        act=op.act,
    )
