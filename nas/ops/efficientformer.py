"""EfficientFormerV2's blocks: a feed-forward network with a depthwise kernel, attention, modules.

Li et al. 2023, Rethinking Vision Transformers for MobileNet Size and Speed,
https://arxiv.org/abs/2212.08059, sections 3.1 to 3.4; layer by layer from
huggingface/pytorch-image-models, timm/models/efficientformer_v2.py (0173a139). Every convolution
has a bias and, but for the queries' local one and the two between heads, a batch norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks, scores
from nas.ops.flow import INPUT, FlowOp, Step
from nas.shape import Kernel, Op, Shape

__all__ = ["AttentionDown", "ConvFFN", "TalkingAttention"]


@dataclass(frozen=True, kw_only=True)
class ConvFFN(Op):
    """1x1 expansion, depthwise kernel, 1x1 projection, layer scale, and the input added.

    The paper's unified feed-forward network, section 3.1: the depthwise kernel takes the place of a
    token mixer of its own.
    """

    key = "conv_ffn"
    elastic = ("expand", "kernel")

    kernel: int = 3
    expand: float = 4
    act: str = "gelu"

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=self.kernel, channels=0, stride=1, act=self.act, expand=self.expand
        )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def middle(self, shape: Shape) -> int:
        """Channels between expansion and projection: ``int(in * expand)``, at least one."""
        return max(1, int(shape.channels * self.expand))

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input."""
        return blocks.held(shape, shape, 4, 1)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        expand, wide = blocks.conv(shape, self.middle(shape), act=self.act, bias=True)
        depthwise, _ = blocks.depthwise(wide, kernel=self.kernel, act=self.act, bias=True)
        project, _ = blocks.conv(wide, shape.channels, bias=True)
        return (expand, depthwise, project, blocks.layer_scale(shape), blocks.add(shape))


@dataclass(frozen=True, kw_only=True)
class TalkingAttention(FlowOp):
    """Attention over the whole map, layer scale, and the input added.

    Scores have a trained bias per offset and are mixed between heads before and after the softmax
    (`nas.ops.scores.talk`). To the weighted values a 3x3 depthwise convolution of the values is
    added (section 3.2). With ``inner_stride`` 2 all of that works on a map that a 3x3 depthwise
    convolution made smaller, and bilinear up-sampling makes it large again (section 3.3). Ours:
    where the stride does not divide the map's size, the last row and column are cut off after it.
    Biases depend on the resolution, and a network of another size refuses them.
    """

    key = "talking_attention"

    heads: int = 8
    key_channels: int = 32
    value_channels: int = 128
    inner_stride: int = 1

    def __post_init__(self) -> None:
        scores.check_heads(
            self.key,
            heads=self.heads,
            key_channels=self.key_channels,
            value_channels=self.value_channels,
        )
        if self.inner_stride not in (1, 2):
            raise ArchitectureError(
                f"op '{self.key}': inner_stride must be 1 or 2, not {self.inner_stride}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a map that is not square."""
        shape.side(self.key)
        return shape

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        self.out_shape(shape)
        steps: list[Step] = []
        small, source = shape, INPUT
        if self.inner_stride > 1:
            shrink, small = blocks.depthwise(shape, kernel=3, stride=self.inner_stride, bias=True)
            source = "small"
            steps.append(Step(shrink, (INPUT,), source))
        queries, keyed = blocks.conv(small, self.heads * self.key_channels, bias=True)
        values, valued = blocks.conv(small, self.heads * self.value_channels, bias=True)
        local, _ = blocks.depthwise(valued, kernel=3, bias=True)
        mix = scores.talk(small.positions, self.heads)
        steps += [
            Step(queries, (source,), "queries"),
            Step(queries, (source,), "keys"),
            Step(values, (source,), "values"),
            Step(local, ("values",), "local"),
            Step(scores.score(keyed, keyed, self.heads), ("queries", "keys"), "scores"),
            Step(scores.offset_bias(keyed, keyed, self.heads), ("scores",), "biased"),
            Step(mix, ("biased",), "mixed"),
            Step(scores.softmax(keyed, keyed, self.heads), ("mixed",), "shares"),
            Step(mix, ("shares",), "weights"),
            Step(
                scores.weigh(keyed, keyed, valued.channels, self.heads),
                ("weights", "values"),
                "weighted",
            ),
            Step(blocks.add(valued), ("weighted", "local"), "sum"),
        ]
        whole, source = Shape(valued.channels, shape.size), "sum"
        if self.inner_stride > 1:
            steps.append(Step(blocks.resize(valued, shape.size), ("sum",), "whole"))
            source = "whole"
        project, _ = blocks.conv(whole, shape.channels, bias=True)
        return (
            *steps,
            Step(blocks.act(whole, "gelu"), (source,), "active"),
            Step(project, ("active",), "projected"),
            Step(blocks.layer_scale(shape), ("projected",), "scaled"),
            Step(blocks.add(shape), (INPUT, "scaled"), "out"),
        )


@dataclass(frozen=True, kw_only=True)
class AttentionDown(FlowOp):
    """Down-sampling by attention beside a 3x3 convolution of the stride (section 3.4).

    Queries: a 3x3 depthwise convolution of the stride and every second position, summed, then 1x1.
    They attend to the whole map, with a trained bias per offset; a 3x3 depthwise convolution of the
    values is added. Biases depend on the resolution, and a network of another size refuses them.
    """

    key = "attention_down"
    elastic = ("channels",)
    once = True

    channels: int = 0
    stride: int = 2
    heads: int = 8
    key_channels: int = 16
    value_channels: int = 64

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=3, channels=self.channels, stride=self.stride, act="gelu"
        )
        scores.check_heads(
            self.key,
            heads=self.heads,
            key_channels=self.key_channels,
            value_channels=self.value_channels,
        )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a map that is not square."""
        shape.side(self.key)
        return shape.strided(self.stride, self.channels)

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        out = self.out_shape(shape)
        beside, _ = blocks.conv(shape, out.channels, kernel=3, stride=self.stride, bias=True)
        near, picked = blocks.depthwise(shape, kernel=3, stride=self.stride, bias=True, norm=False)
        steps = [Step(beside, (INPUT,), "beside"), Step(near, (INPUT,), "near")]
        pooled = INPUT
        if self.stride > 1:
            pick, _ = blocks.pool(shape, self.stride, kernel=1)
            pooled = "picked"
            steps.append(Step(pick, (INPUT,), pooled))
        queries, asking = blocks.conv(picked, self.heads * self.key_channels, bias=True)
        keys, keyed = blocks.conv(shape, self.heads * self.key_channels, bias=True)
        values, valued = blocks.conv(shape, self.heads * self.value_channels, bias=True)
        local, _ = blocks.depthwise(valued, kernel=3, stride=self.stride, bias=True)
        mixed = Shape(valued.channels, out.size)
        project, _ = blocks.conv(mixed, out.channels, bias=True)
        return (
            *steps,
            Step(blocks.add(picked), ("near", pooled), "asked"),
            Step(queries, ("asked",), "queries"),
            Step(keys, (INPUT,), "keys"),
            Step(values, (INPUT,), "values"),
            Step(local, ("values",), "local"),
            Step(scores.score(asking, keyed, self.heads), ("queries", "keys"), "scores"),
            Step(scores.offset_bias(asking, keyed, self.heads), ("scores",), "biased"),
            Step(scores.softmax(asking, keyed, self.heads), ("biased",), "weights"),
            Step(
                scores.weigh(asking, keyed, valued.channels, self.heads),
                ("weights", "values"),
                "weighted",
            ),
            Step(blocks.add(mixed), ("weighted", "local"), "sum"),
            Step(blocks.act(mixed, "gelu"), ("sum",), "active"),
            Step(project, ("active",), "projected"),
            Step(blocks.add(out), ("projected", "beside"), "out"),
        )
