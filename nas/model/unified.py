"""Torch modules of `nas.ops.unified`: UniNet's general operators."""

import math
from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError
from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ConvNorm, SqueezeExcite
from nas.model.dispatch import module
from nas.model.mbconv import Block
from nas.ops.unified import AttentionBlock, ConvBlock, TokenMLPBlock, heads
from nas.shape import Shape

__all__ = ["LayerScale", "attend", "draw_linears", "to_map", "to_tokens"]

# The released networks start layer scales at 1e-6, for 300 epochs. A search trains a few: there an operator
# that starts as the identity stays one, and could not be ranked. 0.1 is what CaiT
# (https://arxiv.org/abs/2103.17239) gives networks of up to 18 blocks.
LAYER_SCALE = 0.1
LINEAR_DEVIATION = 0.02


def to_tokens(maps: Tensor) -> Tensor:
    """maps: (n, channels, s, s). Tokens in row order: (n, s * s, channels)."""
    return maps.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: int) -> Tensor:
    """tokens: (n, size * size, channels). Maps: (n, channels, size, size)."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], size, size)


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


def attend(queries: Tensor, keys: Tensor, values: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    """Attention of ``count`` heads. queries: (n, q, channels), keys and values: (n, k, channels), out as queries.

    ``mask`` is added to the scores, (windows, 1, 1, k) for n a multiple of the windows, the fast index.
    """
    width = queries.shape[2] // count
    q, k, v = (x.reshape(-1, x.shape[1], count, width).transpose(1, 2) for x in (queries, keys, values))
    scores = q @ k.transpose(2, 3) * width**-0.5
    if mask is not None:
        scores = (scores.reshape(-1, len(mask), *scores.shape[1:]) + mask).reshape(scores.shape)
    mixed: Tensor = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(queries.shape)
    return mixed


class Attention(nn.Module):
    """Multi-head self-attention over windows of a map: ``qkv``, ``project``."""

    def __init__(self, shape: Shape, side: int, count: int) -> None:
        super().__init__()
        self.size, self.side, self.count = shape.size, side, count
        self.windows = math.ceil(shape.size / side)
        self.qkv = nn.Linear(shape.channels, 3 * shape.channels)
        self.project = nn.Linear(shape.channels, shape.channels)
        self.register_buffer("mask", self._mask(), persistent=False)

    def _mask(self) -> Tensor | None:
        """Minus infinity at padded keys, (windows, 1, 1, keys); None where the windows divide the map."""
        padded = self.windows * self.side
        if padded == self.size:
            return None
        real = torch.full((1, padded, padded, 1), -math.inf)
        real[:, : self.size, : self.size] = 0
        return self._split(real)[:, None, None, :, 0]

    def _split(self, maps: Tensor) -> Tensor:
        """maps: (n, padded, padded, c). Windows: (n * windows, tokens of a window, c)."""
        n, side, channels = self.windows, self.side, maps.shape[3]
        return maps.reshape(-1, n, side, n, side, channels).transpose(2, 3).reshape(-1, side * side, channels)

    def _join(self, tokens: Tensor) -> Tensor:
        """The inverse of `_split`."""
        n, side, channels = self.windows, self.side, tokens.shape[2]
        return tokens.reshape(-1, n, n, side, side, channels).transpose(2, 3).reshape(-1, n * side, n * side, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, size * size, channels), the same out."""
        beyond = self.windows * self.side - self.size
        maps = self.qkv(tokens).reshape(-1, self.size, self.size, 3 * tokens.shape[2])
        windows = self._split(nn.functional.pad(maps, (0, 0, 0, beyond, 0, beyond)) if beyond else maps)
        queries, keys, values = windows.chunk(3, dim=2)
        mixed = self._join(attend(queries, keys, values, self.count, cast(Tensor | None, self.mask)))
        return cast(Tensor, self.project(mixed[:, : self.size, : self.size].flatten(1, 2)))


class TokenMix(nn.Module):
    """MLP-Mixer's token mixing, two linear layers over positions: ``expand``, ``project``."""

    def __init__(self, positions: int, hidden: int) -> None:
        super().__init__()
        self.positions = positions
        self.expand = nn.Linear(positions, hidden)
        self.project = nn.Linear(hidden, positions)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        mixed = self.project(nn.functional.gelu(self.expand(tokens.transpose(1, 2))))
        return cast(Tensor, mixed.transpose(1, 2))

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
        return tokens + cast(Tensor, self.scale(self.get_submodule(self.name)(self.norm(tokens))))


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

    def __init__(self, shape: Shape, mixer: nn.Module, expand: float, *, position: bool) -> None:
        super().__init__()
        self.shape = shape
        c = shape.channels
        self.position = nn.Conv2d(c, c, 3, padding=1, groups=c) if position else None
        self.mixer = Residual(shape.channels, "mix", mixer)
        self.mlp = Residual(shape.channels, "mlp", FeedForward(shape.channels, int(shape.channels * expand)))

    def initialise(self) -> None:
        """The authors' distribution of linear layers."""
        draw_linears(self)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, *shape), the same out; a map of another size raises `ArchitectureError`."""
        if maps.shape[2] != self.shape.size:
            raise ArchitectureError(f"this block was built for maps of {self.shape}, not {tuple(maps.shape[1:])}")
        if self.position is not None:
            maps = maps + self.position(maps)
        return to_map(self.mlp(self.mixer(to_tokens(maps))), self.shape.size)


@module.register
def _attention(op: AttentionBlock, shape: Shape) -> nn.Module:
    mixer = Attention(shape, op.side(shape), heads(shape.channels, op.head_channels))
    return TokenBlock(shape, mixer, op.expand, position=True)


@module.register
def _token_mlp(op: TokenMLPBlock, shape: Shape) -> nn.Module:
    return TokenBlock(shape, TokenMix(shape.size**2, op.tokens), op.expand, position=False)


class ZeroedBlock(Block):
    """A block whose last norm starts at zero, as the authors start it."""

    def initialise(self) -> None:
        """The block starts as its path beside."""
        nn.init.zeros_(self.get_parameter("project.norm.weight"))


@module.register
def _conv_block(op: ConvBlock, shape: Shape) -> nn.Module:
    out, middle = op.out_shape(shape), op.middle(shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if op.expand != 1:
        parts["norm"] = nn.BatchNorm2d(shape.channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        parts["expand"] = ConvNorm(shape.channels, middle, act="gelu")
    groups = middle if op.depthwise else 1
    parts["depthwise" if op.depthwise else "dense"] = ConvNorm(
        middle, middle, kernel=op.kernel, groups=groups, act="gelu"
    )
    parts["se"] = SqueezeExcite(middle, op.squeeze(shape), "relu", "hsigmoid")
    parts["project"] = ConvNorm(middle, out.channels, bias=True)
    beside: dict[str, nn.Module] = {
        "pool": nn.MaxPool2d(3, 1, 1),
        "project": nn.Conv2d(shape.channels, out.channels, 1),
    }
    return ZeroedBlock(parts, nn.Identity() if shape == out else nn.Sequential(OrderedDict(beside)))
