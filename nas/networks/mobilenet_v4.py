"""MobileNetV4: conv-small, -medium and -large, hybrid-medium and -large, and narrower ones.

Qin et al. 2024, https://arxiv.org/abs/2404.10518, tables 11 to 15; block by block from
https://github.com/huggingface/pytorch-image-models (timm 1.0.31, models/mobilenetv3.py,
``_gen_mobilenet_v4``). A hybrid has a layer scale in every block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nas.arch import Architecture, Stage
from nas.networks.published import Published, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.scale import scaled
from nas.shape import Op, Shape

__all__ = ["NETWORKS"]

SOURCE = "https://github.com/huggingface/pytorch-image-models, timm/models/mobilenetv3.py"
FINAL, HIDDEN = 960, 1280

# A row is a number of layers, kernel of the first depthwise convolution, kernel of the second one,
# expansion; or an op. The first layer of a stage has stride 2.
Row = tuple[int, int, int, int] | Op


@dataclass(frozen=True, kw_only=True)
class Config:
    """A network as the paper's tables list it."""

    pixels: int
    stem: int
    early: tuple[tuple[Op, ...], ...]
    """Stages before those of universal inverted bottlenecks."""
    stages: tuple[tuple[int, tuple[Row, ...]], ...]
    """Of universal inverted bottlenecks and attention: channels, rows."""
    act: str = "relu"
    scale: bool = False


def convolutions(middle: int, channels: int) -> tuple[Op, ...]:
    """A stage of conv-small."""
    return (Conv(kernel=3, channels=middle, stride=2), Conv(channels=channels))


def fused(act: str = "relu") -> tuple[Op, ...]:
    """The first stage of the others."""
    return (FusedMBConv(expand=4, channels=48, stride=2, act=act),)


MEDIUM_ATTENTION = MobileMQA(heads=4, kv_stride=2), MobileMQA(heads=4)
LARGE_ATTENTION = MobileMQA(heads=8, key_channels=48, kv_stride=2), MobileMQA(heads=8)


def between(attention: Op, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with attention before each."""
    mixed: list[Row] = []
    for row in rows:
        mixed += [attention, row]
    return tuple(mixed)


CONFIGS = {
    "conv_small": Config(
        pixels=224,
        stem=32,
        early=(convolutions(32, 32), convolutions(96, 64)),
        stages=(
            (96, ((1, 5, 5, 3), (4, 0, 3, 2), (1, 3, 0, 4))),
            (128, ((1, 3, 3, 6), (1, 5, 5, 4), (1, 0, 5, 4), (1, 0, 5, 3), (2, 0, 3, 4))),
        ),
    ),
    "conv_medium": Config(
        pixels=256,
        stem=32,
        early=(fused(),),
        stages=(
            (80, ((1, 3, 5, 4), (1, 3, 3, 2))),
            (160, (
                (1, 3, 5, 6), (2, 3, 3, 4), (1, 3, 5, 4), (1, 3, 3, 4),
                (1, 3, 0, 4), (1, 0, 0, 2), (1, 3, 0, 4),
            )),
            (256, (
                (1, 5, 5, 6), (1, 5, 5, 4), (2, 3, 5, 4), (1, 0, 0, 4), (1, 3, 0, 4),
                (1, 3, 5, 2), (1, 5, 5, 4), (2, 0, 0, 4), (1, 5, 0, 2),
            )),
        ),
    ),
    "conv_large": Config(
        pixels=384,
        stem=24,
        early=(fused(),),
        stages=(
            (96, ((1, 3, 5, 4), (1, 3, 3, 4))),
            (192, ((1, 3, 5, 4), (3, 3, 3, 4), (1, 3, 5, 4), (5, 5, 3, 4), (1, 3, 0, 4))),
            (512, (
                (4, 5, 5, 4), (1, 5, 0, 4), (1, 5, 3, 4), (2, 5, 0, 4),
                (1, 5, 3, 4), (1, 5, 5, 4), (3, 5, 0, 4),
            )),
        ),
    ),
    "hybrid_medium": Config(
        pixels=256,
        stem=32,
        early=(fused(),),
        scale=True,
        stages=(
            (80, ((1, 3, 5, 4), (1, 3, 3, 2))),
            (160, (
                (1, 3, 5, 6), (1, 0, 0, 2), (1, 3, 3, 4), (1, 3, 5, 4),
                *between(
                    MEDIUM_ATTENTION[0], ((1, 3, 3, 4), (1, 3, 0, 4), (1, 3, 3, 4), (1, 3, 0, 4))
                ),
            )),
            (256, (
                (1, 5, 5, 6), (1, 5, 5, 4), (2, 3, 5, 4), (1, 0, 0, 2), (1, 3, 5, 2), (1, 0, 0, 2),
                (1, 0, 0, 4),
                *between(
                    MEDIUM_ATTENTION[1], ((1, 3, 0, 4), (1, 5, 5, 4), (1, 5, 0, 4), (1, 5, 0, 4))
                ),
            )),
        ),
    ),
    "hybrid_large": Config(
        pixels=384,
        stem=24,
        early=(fused("gelu"),),
        act="gelu",
        scale=True,
        stages=(
            (96, ((1, 3, 5, 4), (1, 3, 3, 4))),
            (192, (
                (1, 3, 5, 4), (3, 3, 3, 4), (1, 3, 5, 4), (2, 5, 3, 4),
                *between(
                    LARGE_ATTENTION[0], ((1, 5, 3, 4), (1, 5, 3, 4), (1, 5, 3, 4), (1, 3, 0, 4))
                ),
            )),
            (512, (
                (4, 5, 5, 4), (1, 5, 0, 4), (1, 5, 3, 4), (2, 5, 0, 4), (1, 5, 3, 4), (1, 5, 5, 4),
                *between(LARGE_ATTENTION[1], ((1, 5, 0, 4),) * 4),
            )),
        ),
    ),
}  # fmt: skip


def mobilenet_v4(name: str) -> Architecture:
    """One of the five, at the resolution of the paper."""
    config = CONFIGS[name]
    stages = [Stage("stem", (Conv(kernel=3, channels=config.stem, stride=2, act=config.act),))]
    body = list(config.early)
    body += [stage(config, channels, rows) for channels, rows in config.stages]
    stages += [Stage(f"stage{number}", ops) for number, ops in enumerate(body, 1)]
    # Its width follows that of the body, and not that of the head.
    stages.append(Stage("final", (Conv(channels=FINAL, act=config.act),)))
    classifier = Classifier(hidden=HIDDEN, hidden_norm=True, act=config.act)
    stages.append(Stage("head", (classifier,)))
    return Architecture(Shape(3, config.pixels), tuple(stages))


def stage(config: Config, channels: int, rows: Sequence[Row]) -> tuple[Op, ...]:
    """The layers of some rows, the first one at stride 2."""
    ops: list[Op] = []
    for row in rows:
        if isinstance(row, Op):
            ops.append(row)
            continue
        count, first, kernel, expand = row
        block = UIB(
            first=first,
            kernel=kernel,
            expand=expand,
            channels=channels,
            act=config.act,
            scale=config.scale,
        )
        ops += repeat(block, count, 1 if ops else 2)
    return tuple(ops)


def narrow(name: str, width: float, pixels: int) -> Architecture:
    """One of the five at a smaller width; the stem stays."""
    return scaled(mobilenet_v4(name), width=width, resolution=pixels, head="fixed", stem="grow")


def published(name: str, build: "partial[Architecture]") -> Published:
    """How the family scales; its multiply-adds are counted as in timm's tables."""
    return Published(
        name=f"mobilenet_v4_{name}",
        build=build,
        source=SOURCE,
        space="mobilenet_v4",
        head="fixed",
        stem="grow",
        macs_rule="fvcore",
    )


NETWORKS = (
    *(published(name, partial(mobilenet_v4, name)) for name in CONFIGS),
    *(
        published(f"{name}_{round(100 * width):03}", partial(narrow, name, width, pixels))
        for name, width, pixels in (
            ("conv_small", 0.35, 224),
            ("conv_small", 0.5, 224),
            ("hybrid_medium", 0.75, 224),
            ("hybrid_large", 0.75, 256),
        )
    ),
)
