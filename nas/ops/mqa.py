"""MobileNetV4's attention: many queries, one key and value head (Mobile MQA).

Qin et al. 2024, MobileNetV4: Universal Models for the Mobile Ecosystem,
https://arxiv.org/abs/2404.10518, section 5; layer by layer from
https://github.com/huggingface/pytorch-image-models (timm 1.0.31, models/_efficientnet_blocks.py,
``MobileAttention``, and layers/attention2d.py, ``MultiQueryAttention2d``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.ops.unified import LARGEST_HEAD, attend
from nas.shape import Kernel, Op, Shape

__all__ = ["MobileMQA"]


@dataclass(frozen=True, kw_only=True)
class MobileMQA(Op):
    """Batch norm, attention of ``heads`` heads that share keys and values, layer scale, sum.

    Queries, keys and values are 1x1 convolutions without bias; each head's queries, the keys and
    the values have ``key_channels`` channels. With ``kv_stride`` 2, a depthwise convolution of
    ``kernel`` and a batch norm halve the map that keys are made of, and others of their own the map
    that values are made of. The map keeps its size and channels.

    Shared keys count as one map per head in what the products read: peak memory is an estimate from
    above.
    """

    key = "mobile_mqa"
    # No setting of it is called channels: that width is the input's, and its weights slice with it.
    elastic = ("channels", "heads", "kernel", "kv_stride")

    heads: int = 4
    key_channels: int = 64
    kv_stride: int = 1
    kernel: int = 3

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key, kernel=self.kernel, channels=0, stride=self.kv_stride, act=""
        )
        for name, value in (("heads", self.heads), ("key_channels", self.key_channels)):
            if not 1 <= value <= LARGEST_HEAD:
                raise ArchitectureError(
                    f"op '{self.key}': {name} must be 1 to {LARGEST_HEAD}, not {value}"
                )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape

    def at(self, shape: Shape) -> Op:
        """See `Op`: without down-sampling there is no depthwise convolution to have a kernel."""
        return self if self.kv_stride > 1 else self.replace(kernel=3)

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the input, the normed map, and queries, keys and values until they are read."""
        one = shape.elements
        queries = self._queries(shape).elements
        shared = self._shared(shape).elements
        key = [one + queries]
        value = [one + queries + shared]
        if self.kv_stride > 1:
            # While keys are projected from their smaller map, the normed one waits for values.
            key.append(2 * one + queries)
            value.append(one + queries + shared)
        # Norm, query; key; value; scores, softmax, weighted sum; projection, scale, sum.
        return (0, one, *key, *value, one + shared, one + shared, one, one, one, 0)

    def _queries(self, shape: Shape) -> Shape:
        return Shape(self.heads * self.key_channels, shape.size)

    def _shared(self, shape: Shape) -> Shape:
        """Keys, or values."""
        return shape.strided(self.kv_stride, self.key_channels)

    def _projected(self, shape: Shape) -> tuple[Kernel, ...]:
        """What makes keys, or values, of the normed map."""
        found: list[Kernel] = []
        now = shape
        if self.kv_stride > 1:
            made, now = blocks.depthwise(now, kernel=self.kernel, stride=self.kv_stride)
            found.append(made)
        made, _ = blocks.conv(now, self.key_channels, norm=False)
        return (*found, made)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        queries = self._queries(shape)
        return (
            blocks.batch_norm(shape),
            blocks.conv(shape, queries.channels, norm=False)[0],
            *self._projected(shape),
            *self._projected(shape),
            *attend(queries, self._shared(shape), self.heads),
            blocks.conv(queries, shape.channels, norm=False)[0],
            blocks.layer_scale(shape),
            blocks.add(shape),
        )
