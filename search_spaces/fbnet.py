"""FBNet: 22 searchable layers, nine candidate blocks each.

Wu et al. 2019, FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
Architecture Search, https://arxiv.org/abs/1812.03443, tables 1 and 2.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, relax_strides

__all__ = ["space"]

# Table 1: channels, layers, stride of the first layer. The stem (16 channels) has stride 2.
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
STEM, HEAD = 16, 1984

# HW-NAS-Bench's head for small images, whose early strides are relaxed:
# https://arxiv.org/abs/2103.10584.
SMALL_IMAGE_HEAD = 1504

# Table 2. Every block has both 1x1 convolutions; `skip` is the identity, or a 1x1 convolution where
# the shape changes.
BLOCKS: Mapping[str, MBConv | None] = {
    "k3_e1": MBConv(kernel=3, expand=1, pointwise=True),
    "k3_e1_g2": MBConv(kernel=3, expand=1, pointwise=True, groups=2),
    "k3_e3": MBConv(kernel=3, expand=3),
    "k3_e6": MBConv(kernel=3, expand=6),
    "k5_e1": MBConv(kernel=5, expand=1, pointwise=True),
    "k5_e1_g2": MBConv(kernel=5, expand=1, pointwise=True, groups=2),
    "k5_e3": MBConv(kernel=5, expand=3),
    "k5_e6": MBConv(kernel=5, expand=6),
    "skip": None,
}


def layer(stage: int, index: int, channels: int, stride: int) -> Slot:
    """One searchable layer."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        block = picked["block"]
        if block is not None:
            yield block.replace(channels=channels, stride=stride)
        elif shape != shape.strided(stride, channels):
            yield Conv(channels=channels, stride=stride)

    return Slot(
        name=f"stage{stage}_{index}",
        stage=f"stage{stage}",
        choices=(Choice("block", BLOCKS),),
        make=make,
    )


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The paper's space at 224; smaller images relax the early strides as HW-NAS-Bench does."""
    paper_strides = (2, *(stride for _, _, stride in STAGES))
    stem_stride, *strides = relax_strides(paper_strides, resolution)
    head = HEAD if (stem_stride, *strides) == paper_strides else SMALL_IMAGE_HEAD
    layers = (
        layer(stage, index, channels, stride if index == 1 else 1)
        for stage, ((channels, count, _), stride) in enumerate(zip(STAGES, strides, strict=True), 1)
        for index in range(1, count + 1)
    )
    return SearchSpace(
        name="fbnet",
        input=Shape(in_channels, resolution),
        slots=(
            fixed("stem", Conv(kernel=3, channels=STEM, stride=stem_stride)),
            *layers,
            fixed("head", Conv(channels=head), Classifier(classes=classes)),
        ),
        paper="Wu et al. 2019, https://arxiv.org/abs/1812.03443",
    )
