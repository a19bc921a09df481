"""EdgeNeXt's split depthwise transpose attention (SDTA): a cascade, then attention over channels.

Maaz et al. 2022, EdgeNeXt, https://arxiv.org/abs/2206.10589, section 3.2; layer by layer from
huggingface/pytorch-image-models, timm/models/edgenext.py (0173a139). Attention over channels:
El-Nouby et al. 2021, https://arxiv.org/abs/2106.09681, section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas.errors import ArchitectureError
from nas.ops import blocks, scores
from nas.ops.flow import INPUT, FlowOp, Step
from nas.ops.residual import group_count
from nas.shape import Kernel, Shape

__all__ = ["SDTA", "WAVES"]

WAVES = 64
"""Sines and cosines of a position, rows and columns together."""
MOST_SCALES = 16


@dataclass(frozen=True, kw_only=True)
class SDTA(FlowOp):
    """A cascade of 3x3 depthwise convolutions, attention over channels, feed-forward network.

    The channels are split into ``scales`` parts. Each part but the last gets the result of the one
    before added, then its convolution; all are joined. Queries and keys of attention are scaled to
    length 1 over the positions, and each head has a trained temperature; ``heads``: the most that
    divide the channels, if these do not. With ``positions``, a linear layer of `WAVES` sines and
    cosines of each position is added ahead of it; as they do not depend on the image, a runtime may
    fold that layer. Layer norms come first, layer scales last.

    How vectors get length 1 is no kernel of its own.
    """

    key = "sdta"
    elastic = ("expand",)

    scales: int = 2
    heads: int = 8
    expand: float = 4
    positions: bool = False

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=1, channels=0, stride=1, act="gelu", expand=self.expand
        )
        scores.check_heads(self.key, heads=self.heads)
        if not 2 <= self.scales <= MOST_SCALES:
            raise ArchitectureError(
                f"op '{self.key}': scales must be 2 to {MOST_SCALES}, not {self.scales}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises `ArchitectureError` for channels that the scales do not split."""
        if (self.scales - 1) * self.width(shape) >= shape.channels:
            raise ArchitectureError(
                f"op '{self.key}': {self.scales} scales of {self.width(shape)} channels leave "
                f"nothing of {shape.channels} for the last: give fewer scales or more channels"
            )
        return shape

    def width(self, shape: Shape) -> int:
        """Channels of every part but the last, which has what is left."""
        return -(-shape.channels // self.scales)

    def middle(self, shape: Shape) -> int:
        """Channels between both linear layers: ``int(in * expand)``, at least one."""
        return max(1, int(shape.channels * self.expand))

    def count(self, shape: Shape) -> int:
        """Heads."""
        return group_count(self.heads, shape.channels)

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        middle = self.middle(shape)
        attended = blocks.layer_scale(shape)
        joined = self._joined(shape)
        return (
            *joined,
            Step(blocks.layer_norm(shape), (joined[-1].writes,), "normed"),
            Step(blocks.linear(shape, 3 * shape.channels), ("normed",), "qkv"),
            *self._attention(shape),
            Step(blocks.linear(shape, shape.channels), ("weighted",), "projected"),
            Step(attended, ("projected",), "attended"),
            Step(blocks.add(shape), (joined[-1].writes, "attended"), "mixed"),
            Step(blocks.layer_norm(shape), ("mixed",), "again"),
            Step(blocks.linear(shape, middle, "gelu"), ("again",), "wide"),
            Step(blocks.linear(Shape(middle, shape.size), shape.channels), ("wide",), "narrow"),
            Step(blocks.layer_scale(shape), ("narrow",), "scaled"),
            Step(blocks.add(shape), (INPUT, "scaled"), "out"),
        )

    def _joined(self, shape: Shape) -> list[Step]:
        """The cascade, and what tells positions apart."""
        part = Shape(self.width(shape), shape.size)
        convolve, _ = blocks.depthwise(part, kernel=3, bias=True, norm=False)
        steps = [Step(convolve, (INPUT,), "part1")]
        parts = ["part1"]
        for number in range(2, self.scales):
            steps.append(Step(blocks.add(part), (parts[-1], INPUT), f"sum{number}"))
            steps.append(Step(convolve, (f"sum{number}",), f"part{number}"))
            parts.append(f"part{number}")
        steps.append(Step(blocks.concat(shape), (*parts, INPUT), "joined"))
        if self.positions:
            waves = Shape(WAVES, shape.size)
            place, _ = blocks.conv(waves, shape.channels, bias=True, norm=False)
            steps.append(Step(place, (), "place"))
            steps.append(Step(blocks.add(shape), ("joined", "place"), "placed"))
        return steps

    def _attention(self, shape: Shape) -> tuple[Step, ...]:
        heads = self.count(shape)
        width = shape.channels // heads
        temperature = blocks.layer_scale(Shape(heads, width))
        share = Kernel(
            kind="softmax",
            in_channels=shape.channels * width,
            out_channels=shape.channels * width,
            in_size=1,
            out_size=1,
            groups=shape.channels,
        )
        # Each position's values are one row, which the scores of its head multiply.
        weigh = replace(share, kind="matmul", in_channels=shape.channels, groups=heads)
        weigh = replace(weigh, out_channels=shape.channels, in_size=shape.size, out_size=shape.size)
        return (
            Step(scores.gram(shape, heads), ("qkv",), "scores"),
            Step(temperature, ("scores",), "tempered"),
            Step(share, ("tempered",), "shares"),
            Step(weigh, ("qkv", "shares"), "weighted"),
        )
