"""UniNet: five searched stages of a general operator, each behind a searched down-sampling module.

Liu et al. 2022, UniNet: Unified Architecture Search with Convolution, Transformer, and MLP,
https://arxiv.org/abs/2207.05420. 1875 options a stage, 1875^5 gene tuples.

Channels and repeats are searched relative to EfficientNet-B0 (Tan and Le 2019,
https://arxiv.org/abs/1905.11946, table 1). Ours where the paper is silent: channels are rounded to
multiples of 8, a stage may keep no block (its module stays), local attention has windows of 7x7,
and stage 1, one depthwise block without expansion, has the 24 channels of the released networks.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.down import GlobalDown, LocalDown, LocalGlobalDown
from nas.ops.unified import AttentionBlock, ConvBlock, TokenMLPBlock
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, make_divisible, relax_strides

__all__ = ["space"]

STEM, FIRST, HEAD = 32, 24, 1280

# EfficientNet-B0, stages 2 to 6: channels, layers, stride.
STAGES = ((24, 2, 2), (40, 2, 2), (80, 3, 2), (112, 3, 1), (192, 4, 2))

OPS: Mapping[str, Op] = {
    "attention": AttentionBlock(),
    "local_attention": AttentionBlock(window=7),
    "conv": ConvBlock(depthwise=False),
    "dwconv": ConvBlock(),
    "mlp": TokenMLPBlock(),
}
DOWN: Mapping[str, Op] = {
    "local": LocalDown(),
    "local_global": LocalGlobalDown(),
    "global": GlobalDown(),
}
CHOICES = (
    Choice("op", OPS),
    Choice("expand", (2, 3, 4, 5, 6), ordinal=True),
    Choice("channels", (0.5, 0.75, 1.0, 1.25, 1.5), ordinal=True),
    Choice("repeats", (-2, -1, 0, 1, 2), ordinal=True),
    Choice("down", DOWN),
)


def stage(number: int, channels: int, repeats: int, stride: int) -> Slot:
    """One searched stage: its first module changes size and channels, the blocks keep them."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        yield picked["down"].replace(
            channels=make_divisible(channels * picked["channels"]), stride=stride
        )
        block = picked["op"].replace(expand=picked["expand"])
        for _ in range(repeats + picked["repeats"]):
            yield block

    return Slot(name=f"stage{number}", stage=f"stage{number}", choices=CHOICES, make=make)


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The paper's space; small images relax the early strides."""
    stem_stride, *strides = relax_strides((2, *(stride for _, _, stride in STAGES)), resolution)
    return SearchSpace(
        name="uninet",
        input=Shape(in_channels, resolution),
        slots=(
            fixed("stem", Conv(kernel=3, channels=STEM, stride=stem_stride, act="gelu")),
            fixed("stage1", ConvBlock(expand=1, channels=FIRST)),
            *(
                stage(number, channels, repeats, stride)
                for number, ((channels, repeats, _), stride) in enumerate(
                    zip(STAGES, strides, strict=True), 2
                )
            ),
            fixed("head", Conv(channels=HEAD, act="gelu"), Classifier(classes=classes)),
        ),
        paper="Liu et al. 2022, https://arxiv.org/abs/2207.05420",
    )
