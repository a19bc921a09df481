"""Torch module of `nas.ops.mqa`."""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from nas.model.blocks import NORM_EPS, NORM_MOMENTUM, ChannelScale, ConvNorm
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.ops import mqa as ops
from nas.shape import Shape

__all__ = ["MobileMQA", "MultiQuery"]


class MultiQuery(nn.Module):
    """Attention over a map whose heads share keys and values: ``query``, ``key``, ``value``.

    ``project`` brings the heads' values back to the channels of the map. It takes maps of any size.
    An ONNX file of it does so too where ``any_size`` is set; else the file has maps of ``size``.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int],
        heads: int,
        key_channels: int,
        kv_stride: int,
        kernel: int,
    ) -> None:
        super().__init__()
        self.size, self.heads, self.width, self.stride = size, heads, key_channels, kv_stride
        self.any_size = False
        self.query = nn.Conv2d(channels, heads * key_channels, 1, bias=False)
        self.key = shared_head(channels, key_channels, kv_stride, kernel)
        self.value = shared_head(channels, key_channels, kv_stride, kernel)
        self.project = nn.Conv2d(heads * key_channels, channels, 1, bias=False)

    def initialise(self) -> None:
        """Uniform as Glorot and Bengio 2010 draw: timm found hybrid networks more stable so."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_uniform_(part.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, height, width), the same out."""
        height, width = self._sides(maps)
        positions = height * width
        # Rounded up, without the negative numbers that an ONNX file divides otherwise.
        down = self.stride - 1
        keys = (height + down) // self.stride * ((width + down) // self.stride)
        queries = self.query(maps).reshape(-1, self.heads, self.width, positions)
        # All heads read the same keys: their queries are rows of one product.
        rows = queries.transpose(2, 3).reshape(-1, self.heads * positions, self.width)
        shared = self.key(maps).reshape(-1, self.width, keys)
        values = self.value(maps).reshape(-1, self.width, keys).transpose(1, 2)
        # Shazeer 2019, https://arxiv.org/abs/1911.02150, section 3.
        scores = rows @ shared * self.width**-0.5
        mixed = (scores.softmax(dim=-1) @ values).reshape(-1, self.heads, positions, self.width)
        by_channel = mixed.transpose(2, 3).reshape(-1, self.heads * self.width, height, width)
        out: Tensor = self.project(by_channel)
        return out

    def _sides(self, maps: Tensor) -> tuple[int, int]:
        """Height and width, as numbers that the module was built with if they are these.

        An ONNX file computes what is read from a tensor anew in every run.
        """
        if not self.any_size and tuple(maps.shape[2:]) == self.size:
            return self.size
        return maps.shape[2], maps.shape[3]


def shared_head(channels: int, width: int, stride: int, kernel: int) -> nn.Sequential:
    """A 1x1 convolution to ``width`` channels (``project``), of a smaller map (``down``) if any."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["down"] = ConvNorm(channels, channels, kernel=kernel, stride=stride, groups=channels)
    parts["project"] = nn.Conv2d(channels, width, 1, bias=False)
    return nn.Sequential(parts)


class MobileMQA(Block):
    """Batch norm (``norm``), `MultiQuery` (``attention``), layer scale (``scale``), sum."""

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int],
        heads: int,
        key_channels: int,
        kv_stride: int = 1,
        kernel: int = 3,
    ) -> None:
        attention = MultiQuery(
            channels,
            size=size,
            heads=heads,
            key_channels=key_channels,
            kv_stride=kv_stride,
            kernel=kernel,
        )
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["norm"] = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        parts["attention"] = attention
        parts["scale"] = ChannelScale(channels)
        super().__init__(parts, nn.Identity())


@recipe.register
def _mobile_mqa(op: ops.MobileMQA, shape: Shape) -> Recipe:
    return partial(
        MobileMQA,
        shape.channels,
        size=shape.sides,
        heads=op.heads,
        key_channels=op.key_channels,
        kv_stride=op.kv_stride,
        kernel=op.kernel,
    )
