"""Inverted residual blocks: MBConv and Fused-MBConv.

MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), FBNet (Wu et al. 2019,
https://arxiv.org/abs/1812.03443), MobileNetV3 (Howard et al. 2019,
https://arxiv.org/abs/1905.02244), EfficientNetV2 (Tan and Le 2021,
https://arxiv.org/abs/2104.00298).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks, gates
from nas.shape import Kernel, Op, Shape, make_divisible

__all__ = ["FusedMBConv", "MBConv"]


@dataclass(frozen=True, kw_only=True)
class _InvertedResidual(Op):
    """What both blocks share.

    ``se_gate`` is sigmoid or hsigmoid. With an empty ``se_act``, squeeze-and-excitation uses
    ``act`` inside. ``eca`` gates in its place, see `nas.ops.gates.eca`.
    """

    elastic = ("channels", "eca", "expand", "kernel", "se", "skip")

    kernel: int = 3
    expand: float = 6
    channels: int = 0
    stride: int = 1
    se: float = 0
    se_base: str = "input"
    se_act: str = ""
    se_gate: str = "sigmoid"
    eca: bool = False
    act: str = "relu"
    skip: str = "identity"

    def __post_init__(self) -> None:
        blocks.check_settings(
            self.key,
            kernel=self.kernel,
            channels=self.channels,
            stride=self.stride,
            act=self.act,
            expand=self.expand,
            se=self.se,
            skip=self.skip,
        )
        blocks.check_squeeze(self.key, base=self.se_base, gate=self.se_gate, act=self.se_act)
        gates.check_gates(self.key, se=self.se, eca=self.eca)

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def at(self, shape: Shape) -> Op:
        """See `Op`: where the shape changes there is no identity to switch off."""
        idle = self.skip == "none" and shape != self.out_shape(shape)
        return self.replace(skip="identity") if idle else self

    def middle(self, shape: Shape) -> int:
        """Channels between expansion and projection: ``in * expand``.

        Where ``expand`` is a fraction, rounded to a multiple of 8 as in MobileNetV3: 2.3 of 80 is
        184.
        """
        wide = shape.channels * self.expand
        return round(wide) if float(self.expand).is_integer() else make_divisible(wide)

    def squeeze(self, shape: Shape) -> int:
        """Width of squeeze-and-excitation, 0 for none.

        ``se_base`` input: ``max(1, int(in * se))`` (MnasNet, EfficientNet); expanded: ``middle *
        se`` rounded to a multiple of 8 (MobileNetV3).
        """
        if not self.se:
            return 0
        if self.se_base == "expanded":
            return make_divisible(self.middle(shape) * self.se)
        return max(1, int(shape.channels * self.se))

    def gated(self, shape: Shape) -> int:
        """Channels that squeeze-and-excitation or ``eca`` scale."""
        return self.middle(shape)

    def _gate(self, shape: Shape, now: Shape) -> tuple[Kernel, ...]:
        if self.eca:
            return gates.eca(now)
        if not self.se:
            return ()
        return blocks.squeeze_excite(
            now, self.squeeze(shape), act=self.se_act or self.act, gate=self.se_gate
        )

    def has_residual(self, shape: Shape) -> bool:
        """Whether the input is added back, directly or pooled."""
        return bool(blocks.shortcut(self.skip, shape, self.out_shape(shape)))

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input, where it is added back."""
        out = self.out_shape(shape)
        beside = len(blocks.shortcut(self.skip, shape, out))
        return blocks.held(shape, out, len(self.kernels(shape)) - beside, beside)


@dataclass(frozen=True, kw_only=True)
class MBConv(_InvertedResidual):
    """1x1 expansion, depthwise kernel, squeeze-and-excitation, linear 1x1 projection.

    ``expand`` 1 has no expansion unless ``pointwise`` asks for it (FBNet). ``groups`` splits both
    1x1 convolutions, with a channel shuffle after the first (FBNet). ``skip``: identity, pool or
    none.
    """

    key = "mbconv"

    groups: int = 1
    pointwise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups < 1:
            raise ArchitectureError(f"op 'mbconv': groups must be at least 1, not {self.groups}")

    def expands(self) -> bool:
        """Whether the block starts with a 1x1 convolution."""
        return self.expand != 1 or self.pointwise

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        found: list[Kernel] = []
        now = shape
        if self.expands():
            made, now = blocks.conv(now, self.middle(shape), groups=self.groups, act=self.act)
            found.append(made)
            if self.groups > 1:
                # Without it the grouped convolutions would never mix channels of two groups.
                found.append(blocks.shuffle(now, self.groups))
        made, now = blocks.depthwise(now, kernel=self.kernel, stride=self.stride, act=self.act)
        found.append(made)
        found += self._gate(shape, now)
        # Linear: an activation on the few channels of a bottleneck loses information (MobileNetV2).
        made, now = blocks.conv(now, self.channels or shape.channels, groups=self.groups)
        return (*found, made, *blocks.shortcut(self.skip, shape, now))


@dataclass(frozen=True, kw_only=True)
class FusedMBConv(_InvertedResidual):
    """Dense kernel that expands, squeeze-and-excitation, linear 1x1 projection.

    At ``expand`` 1 the whole block is one convolution with activation, and squeeze-and-excitation
    (which EfficientNetV2 never uses there) acts on its output.
    """

    key = "fused_mbconv"

    def gated(self, shape: Shape) -> int:
        """See `_InvertedResidual`."""
        return self.out_shape(shape).channels if self.expand == 1 else self.middle(shape)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        channels = self.channels or shape.channels
        wide = self.gated(shape)
        made, now = blocks.conv(shape, wide, kernel=self.kernel, stride=self.stride, act=self.act)
        found = [made]
        found += self._gate(shape, now)
        if self.expand != 1:
            made, now = blocks.conv(now, channels)
            found.append(made)
        return (*found, *blocks.shortcut(self.skip, shape, now))
