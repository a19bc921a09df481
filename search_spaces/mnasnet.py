"""MnasNet: a factorized hierarchical space, seven blocks that each repeat one searched layer.

Tan et al. 2019, MnasNet: Platform-Aware Neural Architecture Search for Mobile,
https://arxiv.org/abs/1807.11626, section 4.1. Filters and layers are searched relative to
MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2).

The paper counts 432 options a block, which takes MBConv with expansion 3 and with 6 as two ops.
Ours where the paper is silent: filters are rounded to multiples of 8, a block has at least one
layer, and the pooling skip averages 3x3 with the block's stride, then a 1x1 convolution if channels
change.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, make_divisible, relax_strides

__all__ = ["space"]

# MobileNetV2, table 2: channels, layers, stride of the first layer. Stem 32 with stride 2, head
# 1280.
STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
STEM, HEAD = 32, 1280

OPS: Mapping[str, Op] = {
    "conv": FusedMBConv(expand=1),
    "dconv": MBConv(expand=1),
    "mbconv_e3": MBConv(expand=3),
    "mbconv_e6": MBConv(expand=6),
}
CHOICES = (
    Choice("op", OPS),
    Choice("kernel", (3, 5), ordinal=True),
    Choice("se", (0, 0.25), ordinal=True),
    Choice("skip", ("pool", "identity", "none")),
    Choice("filters", (0.75, 1.0, 1.25), ordinal=True),
    Choice("layers", (-1, 0, 1), ordinal=True),
)


def block(number: int, channels: int, layers: int, stride: int) -> Slot:
    """One searched block: its first layer carries the stride, the others repeat it at stride 1."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        op: Op = picked["op"].replace(
            kernel=picked["kernel"],
            se=picked["se"],
            skip=picked["skip"],
            channels=make_divisible(channels * picked["filters"]),
        )
        for index in range(max(1, layers + picked["layers"])):
            yield op.replace(stride=stride if index == 0 else 1)

    return Slot(name=f"block{number}", stage=f"block{number}", choices=CHOICES, make=make)


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The paper's space at 224; smaller images relax the early strides."""
    stem_stride, *strides = relax_strides((2, *(stride for _, _, stride in STAGES)), resolution)
    return SearchSpace(
        name="mnasnet",
        input=Shape(in_channels, resolution),
        slots=(
            fixed("stem", Conv(kernel=3, channels=STEM, stride=stem_stride)),
            *(
                block(number, channels, layers, stride)
                for number, ((channels, layers, _), stride) in enumerate(
                    zip(STAGES, strides, strict=True), 1
                )
            ),
            fixed("head", Conv(channels=HEAD), Classifier(classes=classes)),
        ),
        paper="Tan et al. 2019, https://arxiv.org/abs/1807.11626",
    )
