"""UniNet's general operators in one inverted-residual format: convolution, attention, token mixing.

Liu et al. 2022, UniNet: Unified Architecture Search with Convolution, Transformer, and MLP,
https://arxiv.org/abs/2207.05420; layer by layer from the authors' code,
https://github.com/Sense-X/UniNet. Convolutions expand inside: ``x + project(conv(expand(x)))``.
Attention and token mixing are followed by a feed-forward network: ``y = x + mix(x)``, then ``y +
ffn(y)``. All of them keep the map's size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape, make_divisible
from nas.size import each_side, longer

__all__ = ["AttentionBlock", "ConvBlock", "TokenMLPBlock", "heads"]

SQUEEZE = 4
LARGEST_HEAD = 1024
LARGEST_TOKENS = 1 << 14


def heads(channels: int, head_channels: int) -> int:
    """Attention heads: ``channels // head_channels``, at least one.

    Lowered to the next number that divides the channels.
    """
    # Every head has as many channels: searched widths are not all multiples of one head's.
    wanted = max(1, channels // head_channels)
    return next(count for count in range(wanted, 0, -1) if channels % count == 0)


@dataclass(frozen=True, kw_only=True)
class ConvBlock(Op):
    """UniNet's convolution: an inverted residual block between batch norms.

    Batch norm, 1x1 expansion, kernel (depthwise or dense), squeeze-and-excitation, 1x1 projection,
    batch norm. GELU stands between. Squeeze-and-excitation takes a quarter of the expanded
    channels, with ReLU and a hard sigmoid. At ``expand`` 1 the leading batch norm and the
    expansion are absent. Where the channels change, the path beside is a 3x3 maximum pool and a
    1x1 convolution with bias. The
    dense kernel (``depthwise`` false) works on all expanded channels, as the paper writes it; its
    squeeze-and-excitation is ours, by analogy.
    """

    key = "uni_conv"
    elastic = ("channels", "expand", "kernel")

    depthwise: bool = True
    kernel: int = 3
    expand: float = 4
    channels: int = 0

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key,
            kernel=self.kernel,
            channels=self.channels,
            stride=1,
            act="gelu",
            expand=self.expand,
        )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(1, self.channels)

    def middle(self, shape: Shape) -> int:
        """Channels between expansion and projection: ``int(in * expand)``."""
        return int(shape.channels * self.expand)

    def squeeze(self, shape: Shape) -> int:
        """Width of squeeze-and-excitation.

        A quarter of the expanded channels, rounded to a multiple of 8.
        """
        return make_divisible(self.middle(shape) // SQUEEZE)

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input."""
        out = self.out_shape(shape)
        beside = 1 if shape == out else 3
        return blocks.held(shape, out, len(self.kernels(shape)) - beside, beside)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        found: list[Kernel] = []
        now, out = shape, self.out_shape(shape)
        if self.expand != 1:
            # A norm before the first convolution: UniNet's blocks normalise as transformers do.
            found.append(blocks.batch_norm(shape))
            made, now = blocks.conv(shape, self.middle(shape), act="gelu")
            found.append(made)
        if self.depthwise:
            made, now = blocks.depthwise(now, kernel=self.kernel, act="gelu")
        else:
            made, now = blocks.conv(now, now.channels, kernel=self.kernel, act="gelu")
        found.append(made)
        found += blocks.squeeze_excite(now, self.squeeze(shape), act="relu", gate="hsigmoid")
        made, now = blocks.conv(now, out.channels, bias=True)
        found.append(made)
        if shape != out:
            pooled, now = blocks.pool(shape, 1)
            found += [pooled, blocks.conv(now, out.channels, bias=True, norm=False)[0]]
        return (*found, blocks.add(out))


def feed_forward(shape: Shape, expand: float) -> tuple[Kernel, ...]:
    """Layer norm, linear, GELU, linear, layer scale, sum."""
    middle = int(shape.channels * expand)
    return (
        blocks.layer_norm(shape),
        blocks.linear(shape, middle, "gelu"),
        blocks.linear(Shape(middle, shape.size), shape.channels),
        blocks.layer_scale(shape),
        blocks.add(shape),
    )


def feed_forward_held(shape: Shape) -> tuple[int, ...]:
    """What is held beside the kernels of `feed_forward`."""
    return blocks.held(shape, shape, 4, 1)


def attend(queries: Shape, keys: Shape, count: int, rows: int = 1) -> tuple[Kernel, ...]:
    """Attention of ``count`` heads: scores, softmax, weighted sum.

    Both maps have the channels of all heads.
    With ``rows`` windows, the shapes are those of one window.
    """
    # Scores count as a map over the queries, with a channel for each head and key.
    tokens = keys.positions
    return (
        Kernel(
            kind="matmul",
            in_channels=queries.channels,
            out_channels=count * tokens,
            in_size=queries.size,
            out_size=queries.size,
            groups=count,
            rows=rows,
        ),
        Kernel(
            kind="softmax",
            in_channels=count * tokens,
            out_channels=count * tokens,
            in_size=queries.size,
            out_size=queries.size,
            groups=count,
            rows=rows,
        ),
        Kernel(
            kind="matmul",
            in_channels=count * tokens,
            out_channels=queries.channels,
            in_size=queries.size,
            out_size=queries.size,
            groups=count,
            rows=rows,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class AttentionBlock(Op):
    """Positional 3x3 depthwise convolution, multi-head self-attention, feed-forward network.

    Each with a residual; layer norms come first, layer scales last. ``window`` 0 attends to the
    whole map. Ours, as the paper gives no formula for local attention: windows of ``window`` x
    ``window`` tokens that do not overlap, the map padded on the right and below where they do not
    divide it, padded tokens masked out; a window not smaller than the map is the whole map. Weights
    do not depend on the resolution.
    """

    key = "uni_attention"
    elastic = ("expand",)

    expand: float = 4
    window: int = 0
    head_channels: int = 32

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=1, channels=0, stride=1, act="gelu", expand=self.expand
        )
        if not 1 <= self.head_channels <= LARGEST_HEAD:
            raise ArchitectureError(
                f"op '{self.key}': head_channels must be 1 to {LARGEST_HEAD}, "
                f"not {self.head_channels}"
            )
        if not 0 <= self.window <= LARGEST_HEAD:
            raise ArchitectureError(
                f"op '{self.key}': window must be 0 (the whole map) to {LARGEST_HEAD}, "
                f"not {self.window}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the input of each of three residuals; values, while scores are made of keys."""
        values = self.windows(shape) * self.window_of(shape).elements
        position = blocks.held(shape, shape, 1, 1)
        # Norm, product, scores, softmax, weighted sum, product, scale; then the sum.
        norm, *inner, total = blocks.held(shape, shape, 7, 1)
        inner[1] += values
        inner[2] += values
        return (*position, norm, *inner, total, *feed_forward_held(shape))

    def at(self, shape: Shape) -> Op:
        """See `Op`: a window not smaller than the map is the whole map."""
        return self.replace(window=0) if self.window >= longer(shape.size) else self

    def window_of(self, shape: Shape) -> Shape:
        """One window, on no side longer than the map."""
        size = each_side(shape.size, lambda side: min(self.window or side, side))
        return Shape(shape.channels, size)

    def windows(self, shape: Shape) -> int:
        """How many cover the map."""
        window = self.window_of(shape)
        return math.ceil(shape.height / window.height) * math.ceil(shape.width / window.width)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        window, windows = self.window_of(shape), self.windows(shape)
        return (
            # It tells tokens where they are; so weights do not depend on the resolution.
            blocks.depthwise(shape, kernel=3, bias=True, norm=False)[0],
            blocks.add(shape),
            blocks.layer_norm(shape),
            # Queries, keys and values are one product.
            blocks.linear(shape, 3 * shape.channels),
            *attend(window, window, heads(shape.channels, self.head_channels), windows),
            blocks.linear(shape, shape.channels),
            blocks.layer_scale(shape),
            blocks.add(shape),
            *feed_forward(shape, self.expand),
        )


@dataclass(frozen=True, kw_only=True)
class TokenMLPBlock(Op):
    """Token-mixing network over all positions, then a feed-forward network over channels.

    Ours, as the paper gives no formula: MLP-Mixer's (Tolstikhin et al. 2021,
    https://arxiv.org/abs/2105.01601), two linear layers over the positions of each channel with
    ``tokens`` hidden units and GELU between, layer norm first and layer scale last. Its weights
    depend on the resolution, and a network of another size refuses them.
    """

    key = "uni_mlp"
    elastic = ("expand",)

    expand: float = 4
    tokens: int = 256

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=1, channels=0, stride=1, act="gelu", expand=self.expand
        )
        if not 1 <= self.tokens <= LARGEST_TOKENS:
            raise ArchitectureError(
                f"op '{self.key}': tokens must be 1 to {LARGEST_TOKENS}, not {self.tokens}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the input of both residuals."""
        return (*blocks.held(shape, shape, 4, 1), *feed_forward_held(shape))

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        positions = shape.positions

        def mix(inputs: int, outputs: int, act: str = "") -> Kernel:
            return Kernel(
                kind="linear",
                in_channels=inputs,
                out_channels=outputs,
                in_size=1,
                out_size=1,
                # All channels share the weights: each is one row of positions.
                rows=shape.channels,
                bias=True,
                act=act,
            )

        return (
            blocks.layer_norm(shape),
            mix(positions, self.tokens, "gelu"),
            mix(self.tokens, positions),
            blocks.layer_scale(shape),
            blocks.add(shape),
            *feed_forward(shape, self.expand),
        )
