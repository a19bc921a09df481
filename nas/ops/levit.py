"""LeViT's attention, and attention that makes the map smaller.

Graham et al. 2021, LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference,
https://arxiv.org/abs/2104.01136, section 4.2; layer by layer from
huggingface/pytorch-image-models, timm/models/levit.py (0173a139). Linear layers are 1x1
convolutions with batch norm, without bias, as norms are folded at inference. Both ops have a
trained bias per offset, which depends on the resolution: a network of another size refuses them.
Its feed-forward network is `nas.ops.uib.UIB` without depthwise kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.ops import blocks, scores
from nas.ops.flow import INPUT, FlowOp, Step
from nas.shape import Shape

__all__ = ["LevitAttention", "LevitDown"]


@dataclass(frozen=True, kw_only=True)
class _Levit(FlowOp):
    heads: int = 4
    key_channels: int = 16
    value_channels: int = 32
    act: str = "hswish"

    def _check(self, channels: int, stride: int) -> None:
        blocks.check_settings(self.key, kernel=1, channels=channels, stride=stride, act=self.act)
        scores.check_heads(
            self.key,
            heads=self.heads,
            key_channels=self.key_channels,
            value_channels=self.value_channels,
        )

    def _attend(
        self, asked: tuple[Shape, str], keyed: tuple[Shape, str], out: Shape
    ) -> tuple[Step, ...]:
        """From scores to the projection: queries and keys with values, each by shape and name."""
        (queries, asking), (keys, known) = asked, keyed
        channels = self.heads * self.value_channels
        mixed = Shape(channels, queries.size)
        project, _ = blocks.conv(mixed, out.channels)
        reads = (asking,) if asking == known else (asking, known)
        return (
            Step(scores.score(queries, keys, self.heads), reads, "scores"),
            Step(scores.offset_bias(queries, keys, self.heads), ("scores",), "biased"),
            Step(scores.softmax(queries, keys, self.heads), ("biased",), "weights"),
            Step(scores.weigh(queries, keys, channels, self.heads), ("weights", known), "weighted"),
            Step(blocks.act(mixed, self.act), ("weighted",), "active"),
            Step(project, ("active",), "projected"),
        )


@dataclass(frozen=True, kw_only=True)
class LevitAttention(_Levit):
    """Attention over the whole map, activation, projection, and the input added."""

    key = "levit_attention"

    def __post_init__(self) -> None:
        self._check(0, 1)

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a map that is not square."""
        shape.side(self.key)
        return shape

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        self.out_shape(shape)
        width = 2 * self.key_channels + self.value_channels
        qkv, _ = blocks.conv(shape, self.heads * width)
        keys = Shape(self.heads * self.key_channels, shape.size)
        return (
            Step(qkv, (INPUT,), "qkv"),
            *self._attend((keys, "qkv"), (keys, "qkv"), shape),
            Step(blocks.add(shape), (INPUT, "projected"), "out"),
        )


@dataclass(frozen=True, kw_only=True)
class LevitDown(_Levit):
    """Queries of every second position attend to the whole map; activation, projection."""

    key = "levit_down"
    elastic: ClassVar[tuple[str, ...]] = ("channels",)
    once = True

    channels: int = 0
    stride: int = 2

    def __post_init__(self) -> None:
        self._check(self.channels, self.stride)

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a map that is not square."""
        shape.side(self.key)
        return shape.strided(self.stride, self.channels)

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        self.out_shape(shape)
        kv, _ = blocks.conv(shape, self.heads * (self.key_channels + self.value_channels))
        small, source = shape.strided(self.stride), INPUT
        steps = [Step(kv, (INPUT,), "kv")]
        if self.stride > 1:
            pick, _ = blocks.pool(shape, self.stride, kernel=1)
            source = "picked"
            steps.append(Step(pick, (INPUT,), source))
        query, queries = blocks.conv(small, self.heads * self.key_channels)
        steps.append(Step(query, (source,), "queries"))
        keys = Shape(queries.channels, shape.size)
        return (*steps, *self._attend((queries, "queries"), (keys, "kv"), self.out_shape(shape)))
