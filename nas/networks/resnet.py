"""ResNet, ResNeXt, wide ResNet, and ResNets with gates.

He et al. 2016, https://arxiv.org/abs/1512.03385, table 1; Xie et al. 2017,
https://arxiv.org/abs/1611.05431; Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146;
Wang et al. 2020, https://arxiv.org/abs/1910.03151; Cao et al. 2019,
https://arxiv.org/abs/1904.11492; Li et al. 2019, https://arxiv.org/abs/1903.06586. Figures are
torchvision's and timm's.
"""

from collections.abc import Sequence
from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.residual import BasicBlock, Bottleneck, MaxPool
from nas.ops.selective import SelectiveBlock

__all__ = ["NETWORKS"]

# Table 1: of each stage the channels of its kernels, which a bottleneck hands on times 4, and the
# stride of its first block.
WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 2)
STEM = (Conv(kernel=7, channels=64, stride=2), MaxPool())


def basic(layers: Sequence[int]) -> Architecture:
    """Of two 3x3 convolutions a block."""
    stages = [
        repeat(BasicBlock(channels=width), count, stride)
        for width, count, stride in zip(WIDTHS, layers, STRIDES, strict=True)
    ]
    return chain_stages(224, STEM, stages, (Classifier(),))


def bottleneck(layers: Sequence[int], block: Bottleneck) -> Architecture:
    """Of that bottleneck, its channels set by stage."""
    stages = [
        repeat(block.replace(channels=4 * width), count, stride)
        for width, count, stride in zip(WIDTHS, layers, STRIDES, strict=True)
    ]
    return chain_stages(224, STEM, stages, (Classifier(),))


def gcresnext26ts() -> Architecture:
    """timm's: a stem of three kernels, groups of 32 channels, a context block in the middle."""
    stem = (
        Conv(kernel=3, channels=24, stride=2, act="swish"),
        Conv(kernel=3, channels=32, act="swish"),
        Conv(kernel=3, channels=64, act="swish"),
        MaxPool(),
    )
    stages = []
    for width, stride in zip(WIDTHS, STRIDES, strict=True):
        block = Bottleneck(
            channels=4 * width, groups=width // 32, gc=0.125, gate_at="middle", act="swish"
        )
        stages.append(repeat(block, 2, stride))
    return chain_stages(256, stem, stages, (Classifier(),))


def skresnet18() -> Architecture:
    """timm's, whose units split their input, and have wider layers between pool and weights."""
    block = SelectiveBlock(ratio=0.125, least=16, split=True)
    stages = [
        repeat(block.replace(channels=width), 2, stride)
        for width, stride in zip(WIDTHS, STRIDES, strict=True)
    ]
    return chain_stages(224, STEM, stages, (Classifier(),))


TORCHVISION = "torchvision 0.28, torchvision/models/resnet.py"
PLAIN = {
    "resnet18": partial(basic, (2, 2, 2, 2)),
    "resnet34": partial(basic, (3, 4, 6, 3)),
    "resnet50": partial(bottleneck, (3, 4, 6, 3), Bottleneck()),
    "resnet101": partial(bottleneck, (3, 4, 23, 3), Bottleneck()),
    "resnext50_32x4d": partial(bottleneck, (3, 4, 6, 3), Bottleneck(ratio=0.5, groups=32)),
    "wide_resnet50_2": partial(bottleneck, (3, 4, 6, 3), Bottleneck(ratio=0.5)),
}
NETWORKS = (
    *(Published(name=name, build=build, source=TORCHVISION) for name, build in PLAIN.items()),
    Published(
        name="ecaresnet50",
        build=partial(bottleneck, (3, 4, 6, 3), Bottleneck(eca=True)),
        source="https://arxiv.org/abs/1910.03151, section 3.3",
    ),
    Published(
        name="gcresnext26ts",
        build=gcresnext26ts,
        source="timm 1.0.31, timm/models/byobnet.py",
        macs_rule="fvcore",
    ),
    Published(
        name="skresnet18",
        build=skresnet18,
        source="timm 1.0.31, timm/models/sknet.py",
        macs_rule="fvcore",
    ),
)
