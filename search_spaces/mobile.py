"""What mobile devices and server CPUs differ in: each stage's block and all that belongs to it.

Ours, over the stages that MobileNetV2, MnasNet and EfficientNet share (Sandler et al. 2018,
https://arxiv.org/abs/1801.04381, table 2; Tan and Le 2019, https://arxiv.org/abs/1905.11946, table
1). Blocks: MBConv, Fused-MBConv (EfficientNetV2, https://arxiv.org/abs/2104.00298), two of
MobileNetV4's (https://arxiv.org/abs/2404.10518), GhostNet's (https://arxiv.org/abs/1911.11907) and
ResNet's of two dense kernels (https://arxiv.org/abs/1512.03385), whose width is no multiple of its
input. Widths and depths are those of the published networks and others beside them, so MnasNet-A1
and -B1, EfficientNet-B0 and EfficientNetV2-B0 are points of the space.

A stage repeats one block. MobileNetV4's inverted bottleneck is MBConv, its feed-forward block
cannot take a stride, and its other blocks have no gate. ``kernel`` is that of every depthwise or
dense convolution of a block. Squeeze-and-excitation is EfficientNet's, beside h-swish
MobileNetV3's (https://arxiv.org/abs/1905.02244); the blocks of GhostNet and ResNet have one form.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.residual import BasicBlock
from nas.ops.uib import UIB
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, relax_strides

__all__ = ["space"]

# Per stage: widths, depths, expansions, stride of the first layer.
STAGES = (
    ((16, 24), (1, 2), (1, 3), 1),
    ((24, 32, 40), (1, 2, 3), (3, 4, 6), 2),
    ((32, 40, 48), (2, 3, 4), (3, 4, 6), 2),
    ((64, 80, 96), (2, 3, 4), (3, 4, 6), 2),
    ((96, 112, 128), (2, 3, 5), (3, 4, 6), 1),
    ((160, 192, 224), (3, 4, 8), (3, 4, 6), 2),
    ((256, 320), (0, 1), (3, 4, 6), 1),
)
BLOCKS: Mapping[str, Op] = {
    "mbconv": MBConv(),
    "fused_mbconv": FusedMBConv(),
    "extra_dw": UIB(first=3),
    "convnext": UIB(first=3, kernel=0),
    "ghost": GhostBottleneck(),
    "residual": BasicBlock(),
}
GATES = ("none", "se", "eca")
SE = {"se": 0.25}
HARD_SE = {**SE, "se_base": "expanded", "se_act": "relu", "se_gate": "hsigmoid"}
ACT = Choice("act", ("relu", "hswish", "swish", "gelu"))
HEADS = {"linear": (1280, 0), "hidden": (960, 1280)}
"""Channels of the last convolution; of a layer behind the pool, as in MobileNetV3, 0 for none."""


@cache
def block(op: Op, kernel: int, expand: int, gate: str, act: str, width: int) -> Op:
    """The block that a stage repeats."""
    if isinstance(op, UIB):
        # Of the ConvNext-like block the second kernel stays 0.
        second = kernel if op.kernel else 0
        return op.replace(first=kernel, kernel=second, expand=expand, channels=width, act=act)
    op = op.replace(kernel=kernel, channels=width, act=act, eca=gate == "eca")
    if isinstance(op, MBConv | FusedMBConv):
        op = op.replace(expand=expand)
        squeeze = HARD_SE if act == "hswish" else SE
    else:
        squeeze = SE
    if isinstance(op, GhostBottleneck):
        op = op.replace(expand=expand, cheap=kernel)
    return op.replace(**squeeze) if gate == "se" else op


def stage(number: int, stride: int) -> Slot:
    """One searched stage: its first layer carries the stride."""
    widths, depths, expansions, _ = STAGES[number - 1]

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        settings = dict(picked)
        depth = settings.pop("depth")
        repeated = block(settings.pop("block"), **settings)
        for index in range(depth):
            yield repeated.replace(stride=stride) if index == 0 and stride > 1 else repeated

    return Slot(
        name=f"stage{number}",
        stage=f"stage{number}",
        choices=(
            Choice("block", BLOCKS),
            Choice("kernel", (3, 5), ordinal=True),
            Choice("expand", expansions, ordinal=True),
            Choice("gate", GATES),
            ACT,
            Choice("width", widths, ordinal=True),
            Choice("depth", depths, ordinal=True),
        ),
        make=make,
    )


def stem(stride: int) -> Slot:
    """A 3x3 convolution."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        yield Conv(kernel=3, channels=picked["width"], stride=stride, act=picked["act"])

    return Slot(
        name="stem",
        stage="stem",
        choices=(Choice("width", (16, 24, 32), ordinal=True), ACT),
        make=make,
    )


def head(classes: int) -> Slot:
    """A 1x1 convolution and a classifier."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        channels, hidden = picked["kind"]
        yield Conv(channels=channels, act=picked["act"])
        yield Classifier(classes=classes, hidden=hidden, act=picked["act"] if hidden else "relu")

    return Slot(name="head", stage="head", choices=(Choice("kind", HEADS), ACT), make=make)


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The stages at 224; smaller images relax the early strides."""
    stem_stride, *strides = relax_strides((2, *(row[-1] for row in STAGES)), resolution)
    return SearchSpace(
        name="mobile",
        input=Shape(in_channels, resolution),
        slots=(
            stem(stem_stride),
            *(stage(number, stride) for number, stride in enumerate(strides, 1)),
            head(classes),
        ),
        paper="of this toolkit; its blocks are those of the papers that its file names",
    )
