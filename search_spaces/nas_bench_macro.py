"""NAS-Bench-Macro: eight layers of three options, every network of it trained.

Su et al. 2021, Prioritized Architecture Sampling with Monto-Carlo Tree Search,
https://arxiv.org/abs/2103.11922; networks and results: https://github.com/xiusu/NAS-Bench-Macro.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, relax_strides

__all__ = ["space"]

# Channels, layers, stride of the first layer. Stem 32 with stride 1, head 1280.
STAGES = ((64, 2, 2), (128, 3, 2), (256, 3, 2))
STEM, HEAD = 32, 1280

# In the order of the digits that name a network. Where the shape changes, the identity is a linear
# 1x1 convolution.
BLOCKS: Mapping[str, MBConv | None] = {
    "identity": None,
    "mb3_k3": MBConv(kernel=3, expand=3),
    "mb6_k5": MBConv(kernel=5, expand=6),
}


def layer(stage: int, index: int, channels: int, stride: int) -> Slot:
    """One searchable layer."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        block = picked["block"]
        if block is not None:
            yield block.replace(channels=channels, stride=stride)
        elif shape != shape.strided(stride, channels):
            yield Conv(channels=channels, stride=stride, act="")

    return Slot(
        name=f"stage{stage}_{index}",
        stage=f"stage{stage}",
        choices=(Choice("block", BLOCKS),),
        make=make,
    )


def space(resolution: Size = 32, classes: int = 10, in_channels: int = 3) -> SearchSpace:
    """The benchmark's space at 32x32; smaller images relax the early strides."""
    strides = relax_strides([stride for _, _, stride in STAGES], resolution)
    layers = (
        layer(stage, index, channels, stride if index == 1 else 1)
        for stage, ((channels, count, _), stride) in enumerate(zip(STAGES, strides, strict=True), 1)
        for index in range(1, count + 1)
    )
    return SearchSpace(
        name="nas_bench_macro",
        input=Shape(in_channels, resolution),
        slots=(
            fixed("stem", Conv(kernel=3, channels=STEM)),
            *layers,
            fixed("head", Conv(channels=HEAD), Classifier(classes=classes)),
        ),
        paper="Su et al. 2021, https://arxiv.org/abs/2103.11922",
    )
