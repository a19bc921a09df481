"""Torch modules of `nas.ops.unified`: UniNet's general operators."""

import math
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError
from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, SqueezeExcite
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.ops import unified as ops
from nas.shape import Shape

__all__ = ["Attend", "LayerScale", "draw_linears", "to_map", "to_tokens"]

# The released networks start layer scales at 1e-6, for 300 epochs. A search trains a few: there an
# operator that starts as the identity stays one, and could not be ranked. 0.1 is what CaiT
# (https://arxiv.org/abs/2103.17239) gives networks of up to 18 blocks.
LAYER_SCALE = 0.1
LINEAR_DEVIATION = 0.02


# Every size but the batch's is a number that a module was built with, never one read from a tensor:
# an ONNX file with any batch would compute those anew in every run, and a runtime could not fuse
# what stands between them.


def to_tokens(maps: Tensor, channels: int, size: int) -> Tensor:
    """maps: (n, channels, size, size). Tokens in row order: (n, size * size, channels)."""
    return maps.reshape(-1, channels, size * size).transpose(1, 2)


def to_map(tokens: Tensor, channels: int, size: int) -> Tensor:
    """tokens: (n, size * size, channels). Maps: (n, channels, size, size)."""
    return tokens.transpose(1, 2).reshape(-1, channels, size, size)


def draw_linears(part: nn.Module) -> None:
    """Truncated normal weights of deviation 0.02 and zero biases, as the authors draw them."""
    for linear in part.modules():
        if isinstance(linear, nn.Linear):
            nn.init.trunc_normal_(linear.weight, std=LINEAR_DEVIATION)
            nn.init.zeros_(linear.bias)


class LayerScale(nn.Module):
    """One trained factor per channel of the tokens (``factor``)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        return tokens * self.factor


class Attend(nn.Module):
    """Attention of ``heads`` heads, ``queries`` positions to ``keys``, over ``channels`` channels; it has no weights."""

    def __init__(self, channels: int, *, queries: int, keys: int, heads: int) -> None:
        super().__init__()
        self.channels, self.queries, self.keys = channels, queries, keys
        self.heads, self.width = heads, channels // heads

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """queries: (n, queries, channels), keys and values: (n, keys, channels), out as queries.

        ``mask`` is added to the scores, (windows, 1, 1, keys) for n a multiple of the windows, the
        fast index.
        """
        q = queries.reshape(-1, self.queries, self.heads, self.width).transpose(1, 2)
        k, v = (
            x.reshape(-1, self.keys, self.heads, self.width).transpose(1, 2) for x in (keys, values)
        )
        scores = q @ k.transpose(2, 3) * self.width**-0.5
        if mask is not None:
            windowed = scores.reshape(-1, len(mask), self.heads, self.queries, self.keys) + mask
            scores = windowed.reshape(-1, self.heads, self.queries, self.keys)
        mixed: Tensor = (
            (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(-1, self.queries, self.channels)
        )
        return mixed


class Attention(nn.Module):
    """Multi-head self-attention over windows of a map: ``qkv``, ``project``."""

    mask: Tensor | None

    def __init__(self, channels: int, *, size: int, side: int, count: int) -> None:
        super().__init__()
        self.channels, self.size, self.side = channels, size, side
        self.windows = math.ceil(size / side)
        self.attend = Attend(channels, queries=side * side, keys=side * side, heads=count)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.register_buffer("mask", self._mask(), persistent=False)

    def _mask(self) -> Tensor | None:
        """Minus infinity at padded keys, (windows, 1, 1, keys); None where the windows divide the map."""
        padded = self.windows * self.side
        if padded == self.size:
            return None
        real = torch.full((1, padded, padded, 1), -math.inf)
        real[:, : self.size, : self.size] = 0
        return self._split(real, 1)[:, None, None, :, 0]

    def _split(self, maps: Tensor, channels: int) -> Tensor:
        """maps: (n, padded, padded, channels). Windows: (n * windows, tokens of a window, channels)."""
        n, side = self.windows, self.side
        return (
            maps.reshape(-1, n, side, n, side, channels)
            .transpose(2, 3)
            .reshape(-1, side * side, channels)
        )

    def _windows(self, tokens: Tensor) -> Tensor:
        """tokens: (n, size * size, 3 * channels). Windows of them, padded: (n * windows, side * side, 3 * channels)."""
        size, channels, beyond = self.size, 3 * self.channels, self.windows * self.side - self.size
        if self.side == size:
            return tokens
        maps = tokens.reshape(-1, size, size, channels)
        return self._split(
            nn.functional.pad(maps, (0, 0, 0, beyond, 0, beyond)) if beyond else maps, channels
        )

    def _tokens(self, windows: Tensor) -> Tensor:
        """windows: (n * windows, side * side, channels). Tokens without the padding: (n, size * size, channels)."""
        n, side, size, channels = self.windows, self.side, self.size, self.channels
        if side == size:
            return windows
        rows = windows.reshape(-1, n, n, side, side, channels).transpose(2, 3)
        return rows.reshape(-1, n * side, n * side, channels)[:, :size, :size].reshape(
            -1, size * size, channels
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, size * size, channels), the same out."""
        queries, keys, values = torch.split(self._windows(self.qkv(tokens)), self.channels, dim=2)
        mixed = self.attend(queries, keys, values, self.mask)
        out: Tensor = self.project(self._tokens(mixed))
        return out


class TokenMix(nn.Module):
    """MLP-Mixer's token mixing, two linear layers over positions: ``expand``, ``project``."""

    def __init__(self, positions: int, hidden: int) -> None:
        super().__init__()
        self.positions = positions
        self.expand = nn.Linear(positions, hidden)
        self.project = nn.Linear(hidden, positions)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        mixed: Tensor = self.project(nn.functional.gelu(self.expand(tokens.transpose(1, 2))))
        return mixed.transpose(1, 2)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Refuse the weights of another resolution, in one line."""
        given = state_dict.get(f"{prefix}expand.weight")
        if given is not None and given.shape[1] != self.positions:
            raise ArchitectureError(
                f"token mixing over {self.positions} positions cannot take weights for {given.shape[1]}: they depend "
                "on the resolution. Build the network at the resolution it was trained at"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Residual(nn.Module):
    """Layer norm, something over tokens, layer scale, added to what came: ``norm``, its own name, ``scale``."""

    def __init__(self, channels: int, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.name = name
        self.add_module(name, inner)
        self.scale = LayerScale(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        change: Tensor = self.scale(self.get_submodule(self.name)(self.norm(tokens)))
        return tokens + change


class FeedForward(nn.Sequential):
    """Linear, GELU, linear over channels: ``expand``, ``project``."""

    def __init__(self, channels: int, middle: int) -> None:
        parts: dict[str, nn.Module] = {
            "expand": nn.Linear(channels, middle),
            "act": nn.GELU(),
            "project": nn.Linear(middle, channels),
        }
        super().__init__(OrderedDict(parts))


class TokenBlock(nn.Module):
    """``mixer`` over positions, then ``mlp`` over channels; ``position`` comes first where there is one."""

    def __init__(
        self, channels: int, *, size: int, middle: int, mixer: nn.Module, position: bool
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.position = (
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels) if position else None
        )
        self.mixer = Residual(channels, "mix", mixer)
        self.mlp = Residual(channels, "mlp", FeedForward(channels, middle))

    def initialise(self) -> None:
        """The authors' distribution of linear layers."""
        draw_linears(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size), the same out; a map of another size raises ArchitectureError."""
        if maps.shape[2] != self.size:
            built = f"{self.channels}x{self.size}x{self.size}"
            raise ArchitectureError(
                f"this block was built for maps of {built}, not {tuple(maps.shape[1:])}"
            )
        if self.position is not None:
            maps = maps + self.position(maps)
        tokens = to_tokens(maps, self.channels, self.size)
        return to_map(self.mlp(self.mixer(tokens)), self.channels, self.size)


class AttentionBlock(TokenBlock):
    """Positional 3x3 depthwise convolution, attention of ``heads`` in windows of ``side``, feed-forward network."""

    def __init__(self, channels: int, *, size: int, middle: int, side: int, heads: int) -> None:
        mixer = Attention(channels, size=size, side=side, count=heads)
        super().__init__(channels, size=size, middle=middle, mixer=mixer, position=True)


class TokenMLPBlock(TokenBlock):
    """Token mixing over all positions with ``tokens`` hidden units, feed-forward network."""

    def __init__(self, channels: int, *, size: int, middle: int, tokens: int) -> None:
        super().__init__(
            channels, size=size, middle=middle, mixer=TokenMix(size**2, tokens), position=False
        )


class ConvBlock(Block):
    """Batch norm and 1x1 expansion to ``middle`` channels (0: neither), kernel, squeeze to ``se``, projection."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int = 0,
        kernel: int = 3,
        depthwise: bool = True,
        se: int,
    ) -> None:
        wide = middle or in_channels
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if middle:
            parts["norm"] = nn.BatchNorm2d(in_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
            parts["expand"] = ConvNorm(in_channels, wide, act="gelu")
        name, groups = ("depthwise", wide) if depthwise else ("dense", 1)
        parts[name] = ConvNorm(wide, wide, kernel=kernel, groups=groups, act="gelu")
        parts["se"] = SqueezeExcite(wide, se, "relu", "hsigmoid")
        parts["project"] = ConvNorm(wide, channels, bias=True)
        beside: dict[str, nn.Module] = {
            "pool": nn.MaxPool2d(3, 1, 1),
            "project": nn.Conv2d(in_channels, channels, 1),
        }
        super().__init__(
            parts, nn.Identity() if channels == in_channels else nn.Sequential(OrderedDict(beside))
        )

    def initialise(self) -> None:
        """The last norm starts at zero, so the block starts as its path beside: as the authors start it."""
        nn.init.zeros_(self.get_parameter("project.norm.weight"))


@recipe.register
def _attention(op: ops.AttentionBlock, shape: Shape) -> Recipe:
    return partial(
        AttentionBlock,
        shape.channels,
        size=shape.size,
        middle=int(shape.channels * op.expand),
        side=op.side(shape),
        heads=ops.heads(shape.channels, op.head_channels),
    )


@recipe.register
def _token_mlp(op: ops.TokenMLPBlock, shape: Shape) -> Recipe:
    middle = int(shape.channels * op.expand)
    return partial(TokenMLPBlock, shape.channels, size=shape.size, middle=middle, tokens=op.tokens)


@recipe.register
def _conv_block(op: ops.ConvBlock, shape: Shape) -> Recipe:
    return partial(
        ConvBlock,
        shape.channels,
        op.out_shape(shape).channels,
        middle=op.middle(shape) if op.expand != 1 else 0,
        kernel=op.kernel,
        depthwise=op.depthwise,
        se=op.squeeze(shape),
    )
