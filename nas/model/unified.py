"""Torch modules of `nas.ops.unified`: UniNet's general operators."""

import math
from collections import OrderedDict
from functools import partial

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


def to_tokens(maps: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """maps: (n, channels, *size). Tokens in row order: (n, height * width, channels)."""
    return maps.reshape(-1, channels, size[0] * size[1]).transpose(1, 2)


def to_map(tokens: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """tokens: (n, height * width, channels). Maps: (n, channels, *size)."""
    return tokens.transpose(1, 2).reshape(-1, channels, *size)


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
    """Attention of ``heads`` heads, from ``queries`` positions to ``keys``, without parameters."""

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
        q = self._by_head(queries, self.queries)
        k = self._by_head(keys, self.keys)
        v = self._by_head(values, self.keys)
        # Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
        scores = q @ k.transpose(2, 3) * self.width**-0.5
        if mask is not None:
            windowed = scores.reshape(-1, len(mask), self.heads, self.queries, self.keys) + mask
            scores = windowed.reshape(-1, self.heads, self.queries, self.keys)
        mixed: Tensor = scores.softmax(dim=-1) @ v
        return mixed.transpose(1, 2).reshape(-1, self.queries, self.channels)

    def _by_head(self, tokens: Tensor, positions: int) -> Tensor:
        """tokens: (n, positions, channels). Out: (n, heads, positions, width)."""
        return tokens.reshape(-1, positions, self.heads, self.width).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over windows of a map: ``qkv``, ``project``.

    ``size``, ``window``: height and width of the map and of a window.
    """

    mask: Tensor | None

    def __init__(
        self, channels: int, *, size: tuple[int, int], window: tuple[int, int], count: int
    ) -> None:
        super().__init__()
        self.channels, self.size, self.window = channels, size, window
        self.rows = math.ceil(size[0] / window[0])
        self.columns = math.ceil(size[1] / window[1])
        self.padded = self.rows * window[0], self.columns * window[1]
        positions = window[0] * window[1]
        self.attend = Attend(channels, queries=positions, keys=positions, heads=count)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        # Not in state dicts: it follows from the sizes.
        self.register_buffer("mask", self._mask(), persistent=False)

    def _mask(self) -> Tensor | None:
        """Minus infinity at padded keys, (windows, 1, 1, keys); None if windows divide the map."""
        if self.padded == self.size:
            return None
        real = torch.full((1, *self.padded, 1), -math.inf)
        real[:, : self.size[0], : self.size[1]] = 0
        return self._split(real, 1)[:, None, None, :, 0]

    def _split(self, maps: Tensor, channels: int) -> Tensor:
        """maps: (n, *padded, channels). Out: (n * windows, positions of one, channels)."""
        height, width = self.window
        split = maps.reshape(-1, self.rows, height, self.columns, width, channels)
        return split.transpose(2, 3).reshape(-1, height * width, channels)

    def _windows(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, c). Out: (n * windows, positions of one, c), c: 3 * channels."""
        channels = 3 * self.channels
        if self.window == self.size:
            return tokens
        maps = tokens.reshape(-1, *self.size, channels)
        if self.padded != self.size:
            below = self.padded[0] - self.size[0]
            right = self.padded[1] - self.size[1]
            maps = nn.functional.pad(maps, (0, 0, 0, right, 0, below))
        return self._split(maps, channels)

    def _tokens(self, windows: Tensor) -> Tensor:
        """windows: (n * windows, positions of one, channels). Out: (n, positions, channels)."""
        if self.window == self.size:
            return windows
        height, width = self.size
        split = windows.reshape(-1, self.rows, self.columns, *self.window, self.channels)
        maps = split.transpose(2, 3).reshape(-1, *self.padded, self.channels)
        return maps[:, :height, :width].reshape(-1, height * width, self.channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
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
        hidden = nn.functional.gelu(self.expand(tokens.transpose(1, 2)))
        mixed: Tensor = self.project(hidden)
        return mixed.transpose(1, 2)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Refuse the parameters of another resolution, in one line."""
        theirs = state_dict.get(f"{prefix}expand.weight")
        if theirs is not None and theirs.shape[1] != self.positions:
            raise ArchitectureError(
                f"token mixing over {self.positions} positions cannot take weights for "
                f"{theirs.shape[1]}: they depend on the resolution. "
                "Build the network at the resolution it was trained at"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Residual(nn.Module):
    """Layer norm (``norm``), a module under its own name, layer scale (``scale``), added."""

    def __init__(self, channels: int, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.name = name
        self.add_module(name, inner)
        self.scale = LayerScale(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, positions, channels), the same out."""
        inner = self.get_submodule(self.name)
        change: Tensor = self.scale(inner(self.norm(tokens)))
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
    """``mixer`` over positions, then ``mlp`` over channels; ``position`` comes first, if any."""

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int],
        middle: int,
        mixer: nn.Module,
        position: bool,
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
        """maps: (n, channels, *size), the same out.

        Raises `ArchitectureError` for a map of another size.
        """
        if tuple(maps.shape[2:]) != self.size:
            built = f"{self.channels}x{self.size[0]}x{self.size[1]}"
            raise ArchitectureError(
                f"this block was built for maps of {built}, not {tuple(maps.shape[1:])}"
            )
        if self.position is not None:
            maps = maps + self.position(maps)
        tokens = to_tokens(maps, self.channels, self.size)
        return to_map(self.mlp(self.mixer(tokens)), self.channels, self.size)


class AttentionBlock(TokenBlock):
    """Positional 3x3 depthwise convolution, attention in windows, feed-forward part."""

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int],
        middle: int,
        window: tuple[int, int],
        heads: int,
    ) -> None:
        mixer = Attention(channels, size=size, window=window, count=heads)
        super().__init__(channels, size=size, middle=middle, mixer=mixer, position=True)


class TokenMLPBlock(TokenBlock):
    """Token mixing over all positions with ``tokens`` hidden units, feed-forward network."""

    def __init__(self, channels: int, *, size: tuple[int, int], middle: int, tokens: int) -> None:
        mixer = TokenMix(size[0] * size[1], tokens)
        super().__init__(channels, size=size, middle=middle, mixer=mixer, position=False)


class ConvBlock(Block):
    """Batch norm, 1x1 expansion to ``middle`` channels, kernel, squeeze to ``se``, projection.

    With ``middle`` 0 there is neither the norm nor the expansion.
    """

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
        beside: nn.Module = nn.Identity()
        if channels != in_channels:
            named: dict[str, nn.Module] = {
                "pool": nn.MaxPool2d(3, 1, 1),
                "project": nn.Conv2d(in_channels, channels, 1),
            }
            beside = nn.Sequential(OrderedDict(named))
        super().__init__(parts, beside)

    def initialise(self) -> None:
        """The last norm starts at 0, so the block starts as its shortcut, as the authors' does."""
        nn.init.zeros_(self.get_parameter("project.norm.weight"))


@recipe.register
def _attention(op: ops.AttentionBlock, shape: Shape) -> Recipe:
    return partial(
        AttentionBlock,
        shape.channels,
        size=shape.sides,
        middle=int(shape.channels * op.expand),
        window=op.window_of(shape).sides,
        heads=ops.heads(shape.channels, op.head_channels),
    )


@recipe.register
def _token_mlp(op: ops.TokenMLPBlock, shape: Shape) -> Recipe:
    middle = int(shape.channels * op.expand)
    return partial(TokenMLPBlock, shape.channels, size=shape.sides, middle=middle, tokens=op.tokens)


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
