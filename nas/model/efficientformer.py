"""Torch modules of `nas.ops.efficientformer`: EfficientFormerV2's blocks."""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from nas.model.blocks import ChannelScale, ConvNorm
from nas.model.dispatch import Recipe, recipe
from nas.model.mbconv import Block
from nas.model.scores import OffsetBias
from nas.ops import efficientformer as ops
from nas.shape import Shape

__all__ = ["AttentionDown", "ConvFFN", "TalkingAttention"]


class ConvFFN(Block):
    """1x1 expansion to ``middle`` channels, depthwise kernel, projection, ``scale``, the input."""

    def __init__(self, channels: int, *, middle: int, kernel: int, act: str) -> None:
        parts: dict[str, nn.Module] = {
            "expand": ConvNorm(channels, middle, act=act, bias=True),
            "depthwise": ConvNorm(middle, middle, kernel=kernel, groups=middle, act=act, bias=True),
            "project": ConvNorm(middle, channels, bias=True),
            "scale": ChannelScale(channels),
        }
        super().__init__(OrderedDict(parts), nn.Identity())


class Talking(nn.Module):
    """Attention over maps of one ``size``, whose heads mix their scores (``before``, ``after``).

    With ``stride`` 2, on maps that are ``shrink`` to half the size and enlarged again.
    """

    def __init__(
        self, channels: int, *, size: int, stride: int, heads: int, key: int, value: int
    ) -> None:
        super().__init__()
        small = -(-size // stride)
        self.size, self.small = size, small
        self.uneven = small * stride > size
        self.heads, self.key, self.value = heads, key, value
        # Ahead of all parts, as the authors' state dicts have it.
        self.bias = OffsetBias(heads, size=small)
        self.shrink: nn.Module = nn.Identity()
        self.enlarge: nn.Module = nn.Identity()
        if stride > 1:
            self.shrink = ConvNorm(
                channels, channels, kernel=3, stride=stride, groups=channels, bias=True
            )
            self.enlarge = nn.Upsample(scale_factor=stride, mode="bilinear")
        self.query = ConvNorm(channels, heads * key, bias=True)
        self.keys = ConvNorm(channels, heads * key, bias=True)
        self.values = ConvNorm(channels, heads * value, bias=True)
        self.local = ConvNorm(
            heads * value, heads * value, kernel=3, groups=heads * value, bias=True
        )
        self.before = nn.Conv2d(heads, heads, 1)
        self.after = nn.Conv2d(heads, heads, 1)
        self.act = nn.GELU()
        self.project = ConvNorm(heads * value, channels, bias=True)

    def initialise(self) -> None:
        """Torch's own start of the two convolutions between heads, as the authors leave it."""
        for talk in (self.before, self.after):
            talk.reset_parameters()

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, channels, size, size), the same out."""
        small = self.shrink(maps)
        queries = self._by_head(self.query(small), self.key).transpose(2, 3)
        keys = self._by_head(self.keys(small), self.key)
        values = self.values(small)
        scores = self.bias(queries @ keys * self.key**-0.5)
        weights = self.after(self.before(scores).softmax(dim=-1))
        weighted = weights @ self._by_head(values, self.value).transpose(2, 3)
        channels = self.heads * self.value
        mixed = weighted.transpose(2, 3).reshape(-1, channels, self.small, self.small)
        large = self.enlarge(mixed + self.local(values))
        if self.uneven:
            # Half of an odd size is rounded up, and enlarged to one more.
            large = large[:, :, : self.size, : self.size]
        out: Tensor = self.project(self.act(large))
        return out

    def _by_head(self, maps: Tensor, width: int) -> Tensor:
        """maps: (n, heads * width, small, small). Out: (n, heads, width, positions)."""
        return maps.reshape(-1, self.heads, width, self.small**2)


class TalkingAttention(Block):
    """Attention (``attend``), layer scale (``scale``), and the input."""

    def __init__(
        self, channels: int, *, size: int, stride: int, heads: int, key: int, value: int
    ) -> None:
        attend = Talking(channels, size=size, stride=stride, heads=heads, key=key, value=value)
        parts: dict[str, nn.Module] = {"attend": attend, "scale": ChannelScale(channels)}
        super().__init__(OrderedDict(parts), nn.Identity())


class LocalQuery(nn.Module):
    """Queries of a smaller map: ``local`` convolution and every second position, ``project``."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.pick = nn.AvgPool2d(1, stride) if stride > 1 else nn.Identity()
        self.local = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels)
        self.project = ConvNorm(in_channels, channels, bias=True)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, s, s). Out: (n, channels, s / stride, s / stride), rounded up."""
        out: Tensor = self.project(self.local(maps) + self.pick(maps))
        return out


class StridedAttention(nn.Module):
    """Queries of a smaller map attend to all positions of maps of one ``size``."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: int,
        stride: int,
        heads: int,
        key: int,
        value: int,
    ) -> None:
        super().__init__()
        self.size, self.small = size, -(-size // stride)
        self.heads, self.key, self.value = heads, key, value
        self.bias = OffsetBias(heads, size=size, stride=stride)
        self.query = LocalQuery(in_channels, heads * key, stride=stride)
        self.keys = ConvNorm(in_channels, heads * key, bias=True)
        self.values = ConvNorm(in_channels, heads * value, bias=True)
        self.local = ConvNorm(
            heads * value, heads * value, kernel=3, stride=stride, groups=heads * value, bias=True
        )
        self.act = nn.GELU()
        self.project = ConvNorm(heads * value, channels, bias=True)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, size, size). Out: (n, channels, small, small)."""
        heads, positions = self.heads, self.size**2
        queries = self.query(maps).reshape(-1, heads, self.key, self.small**2).transpose(2, 3)
        keys = self.keys(maps).reshape(-1, heads, self.key, positions)
        values = self.values(maps)
        weights = self.bias(queries @ keys * self.key**-0.5).softmax(dim=-1)
        weighted = weights @ values.reshape(-1, heads, self.value, positions).transpose(2, 3)
        mixed = weighted.transpose(2, 3).reshape(-1, heads * self.value, self.small, self.small)
        out: Tensor = self.project(self.act(mixed + self.local(values)))
        return out


class AttentionDown(nn.Module):
    """3x3 convolution of the stride (``conv``) and strided attention (``attend``), summed."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        size: int,
        stride: int,
        heads: int,
        key: int,
        value: int,
    ) -> None:
        super().__init__()
        self.conv = ConvNorm(in_channels, channels, kernel=3, stride=stride, bias=True)
        self.attend = StridedAttention(
            in_channels, channels, size=size, stride=stride, heads=heads, key=key, value=value
        )

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (n, in_channels, size, size). Out: (n, channels, s, s), s: size / stride, up."""
        out: Tensor = self.attend(maps) + self.conv(maps)
        return out


@recipe.register
def _conv_ffn(op: ops.ConvFFN, shape: Shape) -> Recipe:
    return partial(ConvFFN, shape.channels, middle=op.middle(shape), kernel=op.kernel, act=op.act)


@recipe.register
def _talking_attention(op: ops.TalkingAttention, shape: Shape) -> Recipe:
    return partial(
        TalkingAttention,
        shape.channels,
        size=shape.side(op.key),
        stride=op.inner_stride,
        heads=op.heads,
        key=op.key_channels,
        value=op.value_channels,
    )


@recipe.register
def _attention_down(op: ops.AttentionDown, shape: Shape) -> Recipe:
    return partial(
        AttentionDown,
        shape.channels,
        op.out_shape(shape).channels,
        size=shape.side(op.key),
        stride=op.stride,
        heads=op.heads,
        key=op.key_channels,
        value=op.value_channels,
    )
