"""MobileNetV4's space: universal inverted bottlenecks and mobile attention, layer by layer.

Qin et al. 2024, MobileNetV4: Universal Models for the Mobile Ecosystem,
https://arxiv.org/abs/2404.10518, section 6.1. The paper searches, after the widths, which of a
block's two depthwise convolutions there are, their kernels, and the expansion. Its code was never
released. Conv-small, -medium and -large, hybrid-medium and -large, and the narrower ones of
`nas.networks.mobilenet_v4` are points of this space.

Ours where the paper is silent: widths and expansions are those of the released networks, and a
stage's layers beyond the second may be left out. A layer that strides keeps its second depthwise
convolution. Layers may differ in activation and layer scale, where a released network has one style
throughout. In the two last stages attention may stand before each of the last six layers: with the
map of keys and values halved, and on maps of up to 14x14 pixels with the whole one too.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.shape import Op, Shape
from nas.size import Size, area, strided
from nas.space import Choice, SearchSpace, Slot, make_divisible, relax_strides

__all__ = ["space"]

STEMS, FINALS, HIDDEN = (24, 32), (480, 720, 960), 1280

# Widths, and the greatest depth; from conv-small at width .5 to hybrid-large.
STAGES = {
    1: ((16, 32, 40, 48), 1),
    2: ((32, 64, 72, 80, 96), 3),
    3: ((48, 96, 120, 144, 160, 192), 11),
    4: ((64, 128, 192, 256, 384, 512), 14),
}
LEAST_DEPTH = 2
"""Of the two last stages."""

# Heads and channels of a key: of hybrid-medium, then hybrid-large.
ATTENTION = {3: ((4, 64), (8, 48)), 4: ((4, 64), (8, 64))}
ATTENDING = 6
"""Layers of a stage, counted from its end, that attention may stand before."""
LARGEST_MAP = 14
"""Pixels a side up to which all of a map may be keys."""

KV_STRIDES = {"halved": 2, "whole": 1}

# Conv-small begins its first stages with two convolutions. Channels between them, as a share.
CONVOLUTIONS = {1: 1.0, 2: 1.5}

ACT = Choice("act", ("relu", "gelu"))
FIRST = Choice("first", (0, 3, 5), ordinal=True)
KERNEL = Choice("kernel", (0, 3, 5), ordinal=True)
STRIDED_KERNEL = Choice("kernel", (3, 5), ordinal=True)
EXPAND = Choice("expand", (2, 3, 4, 6), ordinal=True)
# Of the conv networks, hybrid-medium, and hybrid-large.
STYLE = Choice(
    "style",
    {"relu": UIB(), "relu_scaled": UIB(scale=True), "gelu_scaled": UIB(act="gelu", scale=True)},
)

NEEDED = (FIRST, KERNEL, EXPAND, STYLE)
DISPENSABLE = (Choice("kept", {"yes": True, "no": False}), *NEEDED)


def bottleneck(picked: Mapping[str, Any], channels: int, stride: int = 1) -> Op:
    """The universal inverted bottleneck that a slot's choices describe."""
    block: UIB = picked["style"]
    return block.replace(
        first=picked["first"],
        kernel=picked["kernel"],
        expand=picked["expand"],
        channels=channels,
        stride=stride,
    )


def convolutions(stage: int, channels: int, stride: int, act: str) -> Iterator[Op]:
    """Conv-small's 3x3 and 1x1 convolution."""
    middle = make_divisible(CONVOLUTIONS[stage] * channels)
    yield Conv(kernel=3, channels=middle, stride=stride, act=act)
    yield Conv(channels=channels, act=act)


def width(options: Sequence[int]) -> Choice:
    """Channels of a stage."""
    return Choice("width", options, ordinal=True)


def convolution(name: str, widths: Sequence[int], kernel: int, stride: int) -> Slot:
    """One convolution, which is a stage: the stem, and the last one before the pool."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        yield Conv(kernel=kernel, channels=picked["width"], stride=stride, act=picked["act"])

    return Slot(name=name, stage=name, choices=(width(widths), ACT), make=make)


def first_stage(stride: int) -> Slot:
    """A fused inverted bottleneck, or two convolutions."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        channels, act = picked["width"], picked["act"]
        if picked["block"] == "convolutions":
            yield from convolutions(1, channels, stride, act)
        else:
            yield FusedMBConv(expand=picked["expand"], channels=channels, stride=stride, act=act)

    block = Choice("block", ("fused", "convolutions"))
    choices = (block, width(STAGES[1][0]), EXPAND, ACT)
    return Slot(name="stage1", stage="stage1", choices=choices, make=make)


def entry(stage: int, stride: int) -> Slot:
    """The first layer of a later stage, which sets its width; or, in stage 2, two convolutions."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        if picked.get("block") == "convolutions":
            yield from convolutions(stage, picked["width"], stride, picked["style"].act)
        else:
            yield bottleneck(picked, picked["width"], stride)

    choices = [width(STAGES[stage][0]), FIRST, STRIDED_KERNEL, EXPAND, STYLE]
    if stage in CONVOLUTIONS:
        choices.insert(0, Choice("block", ("uib", "convolutions")))
    return Slot(name=f"stage{stage}_1", stage=f"stage{stage}", choices=tuple(choices), make=make)


def kept(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
    """A bottleneck, or nothing where it is left out."""
    if picked.get("kept", True):
        yield bottleneck(picked, shape.channels)


def attention(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
    """Attention, or nothing."""
    if picked["heads"] is not None:
        heads, channels = picked["heads"]
        kv_stride = KV_STRIDES[picked.get("keys", "halved")]
        yield MobileMQA(heads=heads, key_channels=channels, kv_stride=kv_stride)


def layers(stage: int, size: Size) -> Iterator[Slot]:
    """The layers after the first and attention before them, on a map of that size."""
    greatest = STAGES[stage][1]
    heads: dict[str, tuple[int, int] | None] = {"none": None}
    for count, channels in ATTENTION.get(stage, ()):
        heads[f"{count}x{channels}"] = count, channels
    attending: tuple[Choice, ...] = (Choice("heads", heads), Choice("keys", tuple(KV_STRIDES)))
    if area(size) > LARGEST_MAP**2:
        attending = attending[:1]
    for index in range(2, greatest + 1):
        name, of = f"stage{stage}_{index}", f"stage{stage}"
        if stage in ATTENTION and index > greatest - ATTENDING:
            yield Slot(name=f"{name}_attention", stage=of, choices=attending, make=attention)
        needed = stage in ATTENTION and index <= LEAST_DEPTH
        yield Slot(name=name, stage=of, choices=NEEDED if needed else DISPENSABLE, make=kept)


def head(classes: int) -> Slot:
    """Pool, hidden layer, classifier."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        yield Classifier(classes=classes, hidden=HIDDEN, hidden_norm=True, act=picked["act"])

    return Slot(name="head", stage="head", choices=(ACT,), make=make)


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The space at a resolution; small images relax the early strides."""
    stem_stride, *strides = relax_strides((2,) * (1 + len(STAGES)), resolution)
    slots = [convolution("stem", STEMS, 3, stem_stride), first_stage(strides[0])]
    for stage in (2, 3, 4):
        size = strided(resolution, math.prod((stem_stride, *strides[:stage])))
        slots += [entry(stage, strides[stage - 1]), *layers(stage, size)]
    return SearchSpace(
        name="mobilenet_v4",
        input=Shape(in_channels, resolution),
        slots=(*slots, convolution("final", FINALS, 1, 1), head(classes)),
        paper="Qin et al. 2024, https://arxiv.org/abs/2404.10518",
    )
