"""ConvNeXt-T, S, B and L, and EdgeNeXt XXS, XS and S.

Liu et al. 2022, https://arxiv.org/abs/2201.03545, section 2.7; Maaz et al. 2022,
https://arxiv.org/abs/2206.10589, table 1; configurations from huggingface/pytorch-image-models,
timm/models/convnext.py (e4e43190) and edgenext.py (0173a139).
"""

from collections.abc import Iterator, Sequence
from functools import partial

from nas.arch import Architecture, Stage
from nas.networks.published import Published
from nas.ops.conv import Classifier
from nas.ops.convnext import ConvNeXtBlock, Patchify
from nas.ops.sdta import SDTA
from nas.shape import Op, Shape

__all__ = ["NETWORKS"]

# Depths and widths of the four stages.
CONVNEXT = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
}
# Also the heads; the last layer of the last three stages attends.
EDGENEXT = {
    "xx_small": ((2, 2, 6, 2), (24, 48, 88, 168), 4),
    "x_small": ((3, 3, 9, 3), (32, 64, 100, 192), 4),
    "small": ((3, 3, 9, 3), (48, 96, 160, 304), 8),
}
KERNELS, SCALES = (3, 5, 7, 9), (2, 2, 3, 4)


def network(resolution: int, widths: Sequence[int], stages: Sequence[Sequence[Op]]) -> Architecture:
    """Stages between modules that cut their maps into squares."""
    named = [Stage("stem", (Patchify(channels=widths[0], stride=4, norm="after"),))]
    for number, (width, ops) in enumerate(zip(widths, stages, strict=True), 1):
        down = (Patchify(channels=width),) if number > 1 else ()
        named.append(Stage(f"stage{number}", (*down, *ops)))
    named.append(Stage("head", (Classifier(norm="layer"),)))
    return Architecture(Shape(3, resolution), tuple(named))


def convnext(name: str) -> Architecture:
    """One network of section 2.7."""
    depths, widths = CONVNEXT[name]
    return network(224, widths, [(ConvNeXtBlock(),) * depth for depth in depths])


def edgenext_layers(number: int, depth: int, heads: int) -> Iterator[Op]:
    """The layers of a stage, 1 to 4; positions are told in the second stage alone."""
    attending = number > 1
    for _ in range(depth - attending):
        yield ConvNeXtBlock(kernel=KERNELS[number - 1])
    if attending:
        yield SDTA(scales=SCALES[number - 1], heads=heads, positions=number == 2)


def edgenext(name: str) -> Architecture:
    """One network of table 1."""
    depths, widths, heads = EDGENEXT[name]
    stages = [tuple(edgenext_layers(number, n, heads)) for number, n in enumerate(depths, 1)]
    return network(256, widths, stages)


TIMM = "huggingface/pytorch-image-models, timm/models"
NETWORKS = (
    *(
        Published(
            name=f"convnext_{name}",
            build=partial(convnext, name),
            source=f"{TIMM}/convnext.py",
            macs_rule="fvcore",
        )
        for name in CONVNEXT
    ),
    *(
        Published(
            name=f"edgenext_{name}",
            build=partial(edgenext, name),
            source=f"{TIMM}/edgenext.py",
            macs_rule="fvcore",
        )
        for name in EDGENEXT
    ),
)
