"""Torch modules of `nas.ops.relative`: attention with relative positions in a bottleneck."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError
from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, activation
from nas.model.dispatch import Recipe, recipe
from nas.model.residual import ResidualBlock, path_beside
from nas.ops import relative as ops
from nas.shape import Shape

__all__ = ["BottleneckAttention", "HaloAttention"]


class RelativePlaces(nn.Module):
    """What the rows and columns between a query and a key add to their score.

    A trained vector for every number of rows (``rows``) and of columns (``columns``) is multiplied
    with the query. ``queries`` and ``keys`` are the sides of their squares, ``width`` the channels
    of a head.
    """

    def __init__(self, *, queries: int, keys: int, width: int) -> None:
        super().__init__()
        self.queries, self.keys, self.width = queries, keys, width
        self.rows = nn.Parameter(torch.zeros(2 * keys - 1, width))
        self.columns = nn.Parameter(torch.zeros(2 * keys - 1, width))

    def initialise(self) -> None:
        """The authors' distribution."""
        for vectors in (self.rows, self.columns):
            nn.init.trunc_normal_(vectors, std=self.width**-0.5)

    def forward(self, queries: Tensor) -> Tensor:
        """queries: (n, queries * queries, width). Out: (n, queries * queries, keys * keys)."""
        side, keys = self.queries, self.keys
        maps = queries.reshape(-1, side, side, self.width)
        across = self._along(maps, self.columns)[:, :, :, None, :]
        down = self._along(maps.transpose(1, 2), self.rows).transpose(1, 2)[:, :, :, :, None]
        return (down + across).reshape(-1, side * side, keys * keys)

    def _along(self, maps: Tensor, vectors: Tensor) -> Tensor:
        """maps: (n, lines, queries, width). Out: (n, lines, queries, keys).

        The score of query i and key j is that of vector j - i + keys - 1 (Huang et al. 2018,
        https://arxiv.org/abs/1809.04281, section 3.4.1): one entry more in a row moves each row by
        one against the one before.
        """
        side, keys = self.queries, self.keys
        count = 2 * keys - 1
        products = (maps @ vectors.t()).reshape(-1, side, count)
        longer = nn.functional.pad(products, (0, 1)).reshape(-1, side * (count + 1))
        longer = nn.functional.pad(longer, (0, count - side))
        moved = longer.reshape(-1, side + 1, count)[:, :side, keys - 1 :]
        return moved.reshape(-1, side, side, keys)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Refuse the vectors of another resolution, in one line."""
        theirs = state_dict.get(f"{prefix}rows")
        if theirs is not None and len(theirs) != 2 * self.keys - 1:
            raise ArchitectureError(
                f"attention over {self.keys} rows cannot take weights for "
                f"{(len(theirs) + 1) // 2}: its vectors of positions depend on the resolution. "
                "Build the network at the resolution it was trained at"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def attend(queries: Tensor, keys: Tensor, values: Tensor, places: RelativePlaces) -> Tensor:
    """queries: (n, queries, width), keys, values: (n, keys, width). Out: as queries."""
    scores = queries @ keys.transpose(1, 2) * places.width**-0.5 + places(queries)
    out: Tensor = scores.softmax(dim=-1) @ values
    return out


def draw_by_inputs(convolution: nn.Conv2d) -> None:
    """Truncated normal weights whose variance is one over the inputs, as the authors draw them."""
    nn.init.trunc_normal_(convolution.weight, std=convolution.in_channels**-0.5)


class WholeMap(nn.Module):
    """Attention over maps of one ``size``, an average pool if there is a stride, norm, activation.

    ``qkv``, ``places``, ``norm``.
    """

    def __init__(self, channels: int, *, size: int, stride: int, heads: int, act: str) -> None:
        super().__init__()
        self.channels, self.size, self.heads = channels, size, heads
        self.width = channels // heads
        self.odd = size % stride
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.places = RelativePlaces(queries=size, keys=size, width=self.width)
        self.pool = nn.AvgPool2d(2, 2) if stride > 1 else nn.Identity()
        self.norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.act = activation(act)

    def initialise(self) -> None:
        """The authors' distribution."""
        draw_by_inputs(self.qkv)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size). Out: (n, channels, s, s), s: size / stride, up."""
        parts = torch.split(self.qkv(maps), self.channels, dim=1)
        queries, keys, values = (self._by_head(part) for part in parts)
        mixed = attend(queries, keys, values, self.places).transpose(1, 2)
        mixed = mixed.reshape(-1, self.channels, self.size, self.size)
        if self.odd:
            mixed = nn.functional.pad(mixed, (0, 1, 0, 1), mode="replicate")
        out: Tensor = self.act(self.norm(self.pool(mixed)))
        return out

    def _by_head(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size). Out: (n * heads, positions, width)."""
        return maps.reshape(-1, self.width, self.size**2).transpose(1, 2)


class Halo(nn.Module):
    """Attention of blocks of queries to themselves and a halo, norm, activation.

    ``query``, ``kv``, ``places``, ``norm``.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: int,
        stride: int,
        heads: int,
        block: int,
        halo: int,
        act: str,
    ) -> None:
        super().__init__()
        self.channels, self.width, self.heads = channels, channels // heads, heads
        self.block, self.halo = block, halo
        self.across = -(-size // block)
        self.beyond = self.across * block - size
        self.out_size = -(-size // stride)
        self.side, self.window = block // stride, block + 2 * halo
        self.query = nn.Conv2d(channels, channels, 1, stride, bias=False)
        self.kv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.places = RelativePlaces(queries=self.side, keys=self.window, width=self.width)
        self.norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.act = activation(act)

    def initialise(self) -> None:
        """The authors' distribution."""
        for convolution in (self.query, self.kv):
            draw_by_inputs(convolution)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size). Out: (n, channels, s, s), s: size / stride, up."""
        if self.beyond:
            maps = nn.functional.pad(maps, (0, self.beyond, 0, self.beyond))
        queries = self._blocks(self.query(maps))
        # Keys and values of a head stand one behind the other.
        pairs = self._windows(self.kv(maps))
        keys, values = torch.split(pairs, self.width, dim=2)
        mixed = self._joined(attend(queries, keys, values, self.places))
        if self.beyond:
            mixed = mixed[:, :, : self.out_size, : self.out_size]
        out: Tensor = self.act(self.norm(mixed))
        return out

    def _blocks(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, s, s). Out: (n * heads * blocks, side * side, width)."""
        n, side = self.across, self.side
        split = maps.reshape(-1, self.width, n, side, n, side).permute(0, 2, 4, 3, 5, 1)
        return split.reshape(-1, side * side, self.width)

    def _windows(self, maps: Tensor) -> Tensor:
        """maps: (n, 2 * channels, s, s). Out: (n * heads * blocks, window * window, 2 * width)."""
        wide = nn.functional.pad(maps, (self.halo,) * 4)
        starts = [number * self.block for number in range(self.across)]
        rows = torch.stack([wide[:, :, start : start + self.window] for start in starts], 2)
        both = torch.stack([rows[..., start : start + self.window] for start in starts], 3)
        split = both.reshape(-1, 2 * self.width, self.across, self.across, self.window, self.window)
        return split.permute(0, 2, 3, 4, 5, 1).reshape(-1, self.window**2, 2 * self.width)

    def _joined(self, tokens: Tensor) -> Tensor:
        """tokens: (n * heads * blocks, side * side, width). Out: (n, channels, s, s)."""
        n, side = self.across, self.side
        split = tokens.reshape(-1, n, n, side, side, self.width).permute(0, 5, 1, 3, 2, 4)
        return split.reshape(-1, self.channels, n * side, n * side)


class BottleneckAttention(ResidualBlock):
    """``reduce`` to ``middle`` channels, attention over the whole map (``attend``), ``expand``."""

    last = "expand"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        size: int,
        stride: int,
        heads: int,
        act: str,
        project: bool,
    ) -> None:
        attention = WholeMap(middle, size=size, stride=stride, heads=heads, act=act)
        parts: dict[str, nn.Module] = {
            "reduce": ConvNorm(in_channels, middle, act=act),
            "attend": attention,
            "expand": ConvNorm(middle, channels),
        }
        beside = path_beside(in_channels, channels, stride, project)
        super().__init__(OrderedDict(parts), beside, act)


class HaloAttention(ResidualBlock):
    """``reduce`` to ``middle`` channels, attention over blocks (``attend``), ``expand``."""

    last = "expand"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        size: int,
        stride: int,
        heads: int,
        block: int,
        halo: int,
        act: str,
        project: bool,
    ) -> None:
        attention = Halo(
            middle, size=size, stride=stride, heads=heads, block=block, halo=halo, act=act
        )
        parts: dict[str, nn.Module] = {
            "reduce": ConvNorm(in_channels, middle, act=act),
            "attend": attention,
            "expand": ConvNorm(middle, channels),
        }
        beside = path_beside(in_channels, channels, stride, project)
        super().__init__(OrderedDict(parts), beside, act)


@recipe.register
def _bottleneck_attention(op: ops.BottleneckAttention, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    return partial(
        BottleneckAttention,
        shape.channels,
        out.channels,
        middle=op.middle(shape),
        size=shape.side(op.key),
        stride=op.stride,
        heads=op.count(shape),
        act=op.act,
        project=shape != out,
    )


@recipe.register
def _halo_attention(op: ops.HaloAttention, shape: Shape) -> Recipe:
    out = op.out_shape(shape)
    return partial(
        HaloAttention,
        shape.channels,
        out.channels,
        middle=op.middle(shape),
        size=shape.side(op.key),
        stride=op.stride,
        heads=op.count(shape),
        block=op.block,
        halo=op.halo,
        act=op.act,
        project=shape != out,
    )
