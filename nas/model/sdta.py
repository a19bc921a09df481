"""Torch module of `nas.ops.sdta`: EdgeNeXt's split depthwise transpose attention."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from nas.model.blocks import ChannelScale
from nas.model.convnext import FINE_EPS, TokenFFN, draw_small
from nas.model.dispatch import Recipe, recipe
from nas.model.unified import to_map, to_tokens
from nas.ops import sdta as ops
from nas.shape import Shape

__all__ = ["SDTA"]

TEMPERATURE = 10000
SHORTEST = 1e-12
"""Vectors shorter than that are divided by it."""


class Places(nn.Module):
    """A 1x1 convolution (``project``) of ``waves`` sines and cosines of each position.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5: half of the waves are of the
    row, half of the column, both counted from above 0 to 2 pi.
    """

    waves: Tensor

    def __init__(self, channels: int, *, size: tuple[int, int], waves: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(waves, channels, 1)
        # Not in state dicts: they follow from the size.
        self.register_buffer("waves", self._waves(size, waves // 2), persistent=False)

    def _waves(self, size: tuple[int, int], count: int) -> Tensor:
        """Shape: (1, 2 * count, *size)."""
        rows = self._wave(size[0], count)[:, :, None].expand(count, *size)
        columns = self._wave(size[1], count)[:, None, :].expand(count, *size)
        return torch.cat([rows, columns])[None]

    def _wave(self, side: int, count: int) -> Tensor:
        """Shape: (count, side)."""
        # The sums end in a size a little larger, as in the authors' code.
        place = torch.arange(1, side + 1) / (side + 1e-6) * 2 * math.pi
        number = torch.arange(count)
        length = TEMPERATURE ** (2 * (number // 2) / count)
        angle = place[None, :] / length[:, None]
        return torch.where((number % 2 == 0)[:, None], angle.sin(), angle.cos())

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, *size), the same out."""
        places: Tensor = self.project(self.waves)
        return maps + places


class ChannelAttention(nn.Module):
    """Attention over channels: ``temperature`` per head, ``qkv``, ``project``."""

    def __init__(self, channels: int, *, positions: int, heads: int) -> None:
        super().__init__()
        self.channels, self.positions, self.heads = channels, positions, heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        parts = torch.split(self.qkv(tokens), self.channels, dim=2)
        queries, keys, values = (self._by_head(part) for part in parts)
        alike = self._unit(queries) @ self._unit(keys).transpose(2, 3)
        shares = (alike * self.temperature).softmax(dim=-1)
        rows = values.transpose(2, 3) @ shares.transpose(2, 3)
        mixed = rows.transpose(1, 2).reshape(-1, self.positions, self.channels)
        out: Tensor = self.project(mixed)
        return out

    def _by_head(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels). Out: (n, heads, width, positions)."""
        width = self.channels // self.heads
        return tokens.reshape(-1, self.positions, self.heads, width).permute(0, 2, 3, 1)

    def _unit(self, vectors: Tensor) -> Tensor:
        """vectors: (n, heads, width, positions), the same out, of length 1 over positions."""
        # Not torch's normalize: an ONNX file would compute sizes for it.
        lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        return vectors / lengths.clamp_min(SHORTEST)


class SDTA(nn.Module):
    """Cascade of ``convs``, ``places`` if told, attention behind ``norm``, ``mlp``, the input."""

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int],
        scales: int,
        width: int,
        heads: int,
        middle: int,
        waves: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        last = channels - (scales - 1) * width
        self.widths = [width] * (scales - 1) + [last]
        # Both scales are ahead of all parts in the authors' state dicts.
        self.attention_scale = ChannelScale(channels)
        self.scale = ChannelScale(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(scales - 1)
        )
        self.places = Places(channels, size=size, waves=waves) if waves else nn.Identity()
        self.norm = nn.LayerNorm(channels, eps=FINE_EPS)
        self.attention = ChannelAttention(channels, positions=size[0] * size[1], heads=heads)
        self.mlp = TokenFFN(channels, size=size, middle=middle)

    def initialise(self) -> None:
        """The authors' distribution."""
        draw_small(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, *size), the same out."""
        first, *rest = torch.split(maps, self.widths, dim=1)
        parts = [self.convs[0](first)]
        for conv, part in zip(list(self.convs)[1:], rest, strict=False):
            parts.append(conv(parts[-1] + part))
        mixed = self.places(torch.cat([*parts, rest[-1]], dim=1))
        tokens = self.norm(to_tokens(mixed, self.channels, self.size))
        attended = to_map(self.attention(tokens), self.channels, self.size)
        mixed = mixed + self.attention_scale(attended)
        out: Tensor = maps + self.scale(self.mlp(mixed))
        return out


@recipe.register
def _sdta(op: ops.SDTA, shape: Shape) -> Recipe:
    return partial(
        SDTA,
        shape.channels,
        size=shape.sides,
        scales=op.scales,
        width=op.width(shape),
        heads=op.count(shape),
        middle=op.middle(shape),
        waves=ops.WAVES if op.positions else 0,
    )
