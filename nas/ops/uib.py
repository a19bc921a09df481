"""MobileNetV4's universal inverted bottleneck (UIB).

Qin et al. 2024, MobileNetV4: Universal Models for the Mobile Ecosystem,
https://arxiv.org/abs/2404.10518, section 4; layer by layer from
https://github.com/huggingface/pytorch-image-models (timm 1.0.31, models/_efficientnet_blocks.py,
``UniversalInvertedResidual``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import ArchitectureError
from nas.ops import blocks
from nas.shape import Kernel, Op, Shape, make_divisible

__all__ = ["UIB"]


@dataclass(frozen=True, kw_only=True)
class UIB(Op):
    """Depthwise ``first``, 1x1 expansion, depthwise ``kernel``, linear 1x1 projection.

    A depthwise convolution of kernel 0 is left out, which gives the paper's four blocks: with both
    ExtraDW, with the second alone an inverted bottleneck, with the first alone ConvNext-like, with
    neither a feed-forward network. No activation follows the first one. The stride is the second
    one's, or the first one's where there is no second.

    ``scale`` multiplies each channel of the result by a trained factor, as the hybrid networks do.
    ``skip``: identity, pool or none; the paper's blocks have the identity wherever shapes allow it.
    """

    key = "uib"
    # Without ``scale``: a projection before a layer scale of 0.00001 learns another size.
    elastic = ("channels", "expand", "first", "kernel", "skip")

    first: int = 0
    kernel: int = 3
    expand: float = 4
    channels: int = 0
    stride: int = 1
    act: str = "relu"
    scale: bool = False
    skip: str = "identity"

    def __post_init__(self) -> None:
        for kernel in (self.first, self.kernel):
            blocks.check_settings(
                self.key,
                # 0 stands for no convolution, which a kernel of 1 pixel is checked in place of.
                kernel=kernel or 1,
                channels=self.channels,
                stride=self.stride,
                act=self.act,
                expand=self.expand,
                skip=self.skip,
            )
        if self.stride > 1 and not (self.first or self.kernel):
            raise ArchitectureError(
                "op 'uib': a stride of 2 needs a depthwise convolution to take it, and first and "
                "kernel are 0. Give one of them, or stride 1"
            )

    def out_shape(self, shape: Shape) -> Shape:
        """See `Op`."""
        return shape.strided(self.stride, self.channels)

    def at(self, shape: Shape) -> Op:
        """See `Op`: where the shape changes there is no identity to switch off."""
        idle = self.skip == "none" and shape != self.out_shape(shape)
        return self.replace(skip="identity") if idle else self

    def middle(self, shape: Shape) -> int:
        """Channels between expansion and projection: ``in * expand``.

        Where ``expand`` is a fraction, rounded to a multiple of 8; others keep one, so that no two
        of them are one on the few channels of a slimmed network.
        """
        wide = shape.channels * self.expand
        return round(wide) if float(self.expand).is_integer() else make_divisible(wide)

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: the block's input, where it is added back."""
        out = self.out_shape(shape)
        beside = len(blocks.shortcut(self.skip, shape, out))
        return blocks.held(shape, out, len(self.kernels(shape)) - beside, beside)

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        found: list[Kernel] = []
        now = shape
        if self.first:
            stride = 1 if self.kernel else self.stride
            made, now = blocks.depthwise(now, kernel=self.first, stride=stride)
            found.append(made)
        made, now = blocks.conv(now, self.middle(shape), act=self.act)
        found.append(made)
        if self.kernel:
            made, now = blocks.depthwise(now, kernel=self.kernel, stride=self.stride, act=self.act)
            found.append(made)
        made, now = blocks.conv(now, self.channels or shape.channels)
        found.append(made)
        if self.scale:
            found.append(blocks.layer_scale(now))
        return (*found, *blocks.shortcut(self.skip, shape, now))
