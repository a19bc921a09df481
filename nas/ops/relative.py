"""Attention with relative positions in a ResNet bottleneck, over the whole map or over blocks.

Srinivas et al. 2021, Bottleneck Transformers, https://arxiv.org/abs/2101.11605, section 3; Vaswani
et al. 2021, HaloNet, https://arxiv.org/abs/2103.12731, section 2; layer by layer from
huggingface/pytorch-image-models, timm/layers/bottleneck_attn.py (8905bdb7), halo_attn.py (3b93a6c7)
and timm/models/byobnet.py, ``SelfAttnBlock``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from nas.errors import ArchitectureError
from nas.ops import blocks, scores
from nas.ops.flow import INPUT, FlowOp, Step
from nas.ops.residual import group_count
from nas.shape import Kernel, Shape, make_divisible

__all__ = ["BottleneckAttention", "HaloAttention"]

LARGEST_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class _Relative(FlowOp):
    """What both share: 1x1 convolution, attention, batch norm and activation, 1x1, and the sum.

    Scores get a product of the query and a trained vector per row and column between query and key.
    ``heads``: the most that divide the channels inside, if these do not. The path beside is a
    linear 1x1 convolution of the stride where the shape changes. An activation follows the sum.
    """

    heads: int = 4
    channels: int = 0
    stride: int = 1
    ratio: float = 0.25
    act: str = "relu"

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=1, channels=self.channels, stride=self.stride, act=self.act
        )
        scores.check_heads(self.key, heads=self.heads)
        if not 0 < self.ratio <= 8:
            raise ArchitectureError(
                f"op '{self.key}': ratio must be above 0 and at most 8, not {self.ratio}"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`. Raises for a map that is not square."""
        shape.side(self.key)
        return shape.strided(self.stride, self.channels)

    def middle(self, shape: Shape) -> int:
        """Channels of queries, of keys and of values, a multiple of 8."""
        return make_divisible(self.out_shape(shape).channels * self.ratio)

    def count(self, shape: Shape) -> int:
        """Heads."""
        return group_count(self.heads, self.middle(shape))

    def _attention(self, inner: Shape, heads: int) -> Sequence[Step]:
        """From the map ``reduced`` of that shape to the one ``attended``, at the op's stride."""
        raise NotImplementedError

    def steps(self, shape: Shape) -> Sequence[Step]:
        """See `FlowOp`."""
        out = self.out_shape(shape)
        reduce, inner = blocks.conv(shape, self.middle(shape), act=self.act)
        attended = Shape(inner.channels, out.size)
        norm = replace(blocks.batch_norm(attended), act=self.act)
        expand, _ = blocks.conv(attended, out.channels)
        steps = [
            Step(reduce, (INPUT,), "reduced"),
            *self._attention(inner, self.count(shape)),
            Step(norm, ("attended",), "normed"),
            Step(expand, ("normed",), "expanded"),
        ]
        beside = INPUT
        if shape != out:
            project, _ = blocks.conv(shape, out.channels, stride=self.stride)
            beside = "beside"
            steps.append(Step(project, (INPUT,), beside))
        return (*steps, Step(blocks.add(out, self.act), ("expanded", beside), "out"))

    def _relate(
        self, asked: tuple[Shape, str], keyed: tuple[Shape, str], heads: int, rows: int, out: str
    ) -> tuple[Step, ...]:
        """Scores, what relative positions add to them, and weighted values.

        Queries and keys with values, each by the shape of one of ``rows`` blocks and by name.
        """
        (queries, asking), (keys, known) = asked, keyed
        reads = (asking,) if asking == known else (asking, known)
        scored = scores.score(queries, keys, heads, rows=rows)
        summed = replace(scores.softmax(queries, keys, heads, rows=rows), kind="add")
        related = self._vectors(queries, keys, heads, rows)
        return (
            Step(scored, reads, "scores"),
            Step(related, (asking,), "rows"),
            Step(related, (asking,), "columns"),
            Step(summed, ("rows", "columns"), "places"),
            Step(summed, ("scores", "places"), "placed"),
            Step(scores.softmax(queries, keys, heads, rows=rows), ("placed",), "weights"),
            Step(
                scores.weigh(queries, keys, queries.channels, heads, rows=rows),
                ("weights", known),
                out,
            ),
        )

    def _vectors(self, queries: Shape, keys: Shape, heads: int, rows: int) -> Kernel:
        """Products of queries and a vector for every number of rows, or columns, to a key."""
        return Kernel(
            kind="linear",
            in_channels=queries.channels // heads,
            out_channels=2 * keys.side(self.key) - 1,
            in_size=queries.size,
            out_size=queries.size,
            rows=rows * heads,
        )


@dataclass(frozen=True, kw_only=True)
class BottleneckAttention(_Relative):
    """Attention over the whole map (BoTNet); a stride is a 2x2 average pool behind it.

    Ours: a map of odd size repeats its last row and column for the pool. The vectors of positions
    depend on the resolution, and a network of another size refuses them.
    """

    key = "bottleneck_attention"

    def _attention(self, inner: Shape, heads: int) -> Sequence[Step]:
        qkv, _ = blocks.conv(inner, 3 * inner.channels, norm=False)
        last = "attended" if self.stride == 1 else "weighted"
        steps = [
            Step(qkv, ("reduced",), "qkv"),
            *self._relate((inner, "qkv"), (inner, "qkv"), heads, 1, last),
        ]
        if self.stride > 1:
            pool, small = blocks.pool(inner, self.stride, kernel=2)
            pool = replace(pool, in_size=small.side(self.key) * self.stride)
            steps.append(Step(pool, ("weighted",), "attended"))
        return steps


@dataclass(frozen=True, kw_only=True)
class HaloAttention(_Relative):
    """Attention of each ``block`` x ``block`` queries to those positions and a ``halo`` around.

    What is beyond the map counts as zero. A stride keeps every second query. Ours: a map that the
    block does not divide is padded on the right and below. Weights do not depend on the resolution.
    """

    key = "halo_attention"
    elastic: ClassVar[tuple[str, ...]] = ()

    heads: int = 8
    block: int = 8
    halo: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.block <= LARGEST_BLOCK:
            raise ArchitectureError(
                f"op '{self.key}': block must be 1 to {LARGEST_BLOCK}, not {self.block}"
            )
        if not 0 <= self.halo <= LARGEST_BLOCK:
            raise ArchitectureError(
                f"op '{self.key}': halo must be 0 to {LARGEST_BLOCK}, not {self.halo}"
            )
        if self.block % self.stride:
            raise ArchitectureError(
                f"op '{self.key}': a stride of {self.stride} needs a block that it divides, "
                f"not {self.block}: give an even block, or stride 1"
            )

    def _attention(self, inner: Shape, heads: int) -> Sequence[Step]:
        across = -(-inner.side(self.key) // self.block)
        padded = Shape(inner.channels, across * self.block)
        query, _ = blocks.conv(padded, inner.channels, stride=self.stride, norm=False)
        known, _ = blocks.conv(padded, 2 * inner.channels, norm=False)
        queries = Shape(inner.channels, self.block // self.stride)
        keys = Shape(inner.channels, self.block + 2 * self.halo)
        return (
            Step(query, ("reduced",), "queries"),
            Step(known, ("reduced",), "kv"),
            *self._relate((queries, "queries"), (keys, "kv"), heads, across**2, "attended"),
        )
