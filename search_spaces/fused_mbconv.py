"""EfficientNetV2's space: MBConv or Fused-MBConv, kernel, expansion and layers over a backbone.

Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training,
https://arxiv.org/abs/2104.00298, section 3.2. Channels are not searched: the paper reuses those of
the backbone.

Ours where the paper is silent: the layers of a stage are 0.5, 0.75, 1, 1.25 or 1.5 times the
backbone's, rounded, at least one. As in every released network, MBConv has squeeze-and-excitation
0.25 and Fused-MBConv has none.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.errors import unknown
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, relax_strides

__all__ = ["space"]

# Per stage: channels, layers, stride of the first layer. Then stem and head channels. `s` and `b0`
# are EfficientNetV2-S (table 4) and the base of V2-B0 to B3; `b4` is EfficientNet-B4, which the
# paper's search starts from.
BASES = {
    "s": (24, ((24, 2, 1), (48, 4, 2), (64, 4, 2), (128, 6, 2), (160, 9, 1), (256, 15, 2)), 1280),
    "b0": (32, ((16, 1, 1), (32, 2, 2), (48, 2, 2), (96, 3, 2), (112, 5, 1), (192, 8, 2)), 1280),
    "b4": (
        48,
        ((24, 2, 1), (32, 4, 2), (56, 4, 2), (112, 6, 2), (160, 6, 1), (272, 8, 2), (448, 2, 1)),
        1792,
    ),
}
OPS: Mapping[str, Op] = {
    "mbconv": MBConv(se=0.25, act="swish"),
    "fused_mbconv": FusedMBConv(act="swish"),
}
DEPTHS = (0.5, 0.75, 1, 1.25, 1.5)


def stage(number: int, channels: int, layers: int, stride: int) -> Slot:
    """One searched stage: its first layer carries the stride."""
    counts = sorted({max(1, round(layers * depth)) for depth in DEPTHS})

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        op: Op = picked["op"].replace(
            kernel=picked["kernel"], expand=picked["expand"], channels=channels
        )
        yield op.replace(stride=stride)
        for _ in range(picked["layers"] - 1):
            yield op

    return Slot(
        name=f"stage{number}",
        stage=f"stage{number}",
        choices=(
            Choice("op", OPS),
            Choice("kernel", (3, 5), ordinal=True),
            Choice("expand", (1, 4, 6), ordinal=True),
            Choice("layers", counts, ordinal=True),
        ),
        make=make,
    )


def space(
    resolution: Size = 224, classes: int = 1000, in_channels: int = 3, base: str = "s"
) -> SearchSpace:
    """The space over the backbone ``base`` (s, b0 or b4); small images relax the early strides."""
    if base not in BASES:
        raise unknown("base of space 'fused_mbconv'", base, BASES)
    stem, stages, head = BASES[base]
    stem_stride, *strides = relax_strides((2, *(stride for _, _, stride in stages)), resolution)
    return SearchSpace(
        name="fused_mbconv" if base == "s" else f"fused_mbconv:base={base}",
        input=Shape(in_channels, resolution),
        slots=(
            fixed("stem", Conv(kernel=3, channels=stem, stride=stem_stride, act="swish")),
            *(
                stage(number, channels, layers, stride)
                for number, ((channels, layers, _), stride) in enumerate(
                    zip(stages, strides, strict=True), 1
                )
            ),
            fixed("head", Conv(channels=head, act="swish"), Classifier(classes=classes)),
        ),
        paper="Tan and Le 2021, https://arxiv.org/abs/2104.00298",
    )
