"""EfficientFormerV2: four stages of feed-forward layers with depthwise kernels, and attention.

Li et al. 2023, Rethinking Vision Transformers for MobileNet Size and Speed,
https://arxiv.org/abs/2212.08059, sections 3 and 4. Searched: the width of every stage, its depth,
the expansion of every layer, where the last two stages attend, and whether attention takes part in
the last down-sampling. S0, S1, S2 and L are points of it.

Ours, as the paper names no lists: widths are those of the four networks, depths go up to those of
L, expansions are 2, 3 and 4, and any layer of the last two stages may attend.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.ops.conv import Classifier, Conv, Norm
from nas.ops.efficientformer import AttentionDown, ConvFFN, TalkingAttention
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, relax_strides

__all__ = ["space"]

# Table 7: widths, layers of the deepest network.
STAGES = (((32, 40), 5), ((48, 64, 80), 5), ((96, 120, 144, 192), 15), ((176, 224, 288, 384), 10))
STRIDES = (2, 2, 2, 2, 2)

FFN: Mapping[str, tuple[Op, ...]] = {f"e{e}": (ConvFFN(expand=e),) for e in (2, 3, 4)}
SKIP: Mapping[str, tuple[Op, ...]] = {"skip": ()}
DOWN: Mapping[str, Op] = {
    "conv": Conv(kernel=3, act="", bias=True),
    "attention": AttentionDown(),
}


def attending(number: int) -> Mapping[str, tuple[Op, ...]]:
    """Layers that attend; those of the third stage on a map of half the size (section 3.3)."""
    attention = TalkingAttention(inner_stride=2 if number == 3 else 1)
    return {f"attention_{name}": (attention, *ops) for name, ops in FFN.items()}


def stem(widths: tuple[int, ...], strides: list[int]) -> Slot:
    """Two convolutions, of half the first stage's width and of all of it."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        for channels, stride in zip((picked["width"] // 2, picked["width"]), strides, strict=True):
            yield Conv(kernel=3, channels=channels, stride=stride, act="gelu", bias=True)

    choice = Choice("width", widths, ordinal=True)
    return Slot(name="stem", stage="stem", choices=(choice,), make=make)


def down(number: int, widths: tuple[int, ...], stride: int) -> Slot:
    """Down-sampling to a stage's width; the last one may attend."""
    kinds = DOWN if number == 4 else {"conv": DOWN["conv"]}

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        kind = picked.get("down", DOWN["conv"])
        yield kind.replace(channels=picked["width"], stride=stride)

    choices = (Choice("width", widths, ordinal=True), Choice("down", kinds))
    name, stage = f"stage{number}_down", f"stage{number}"
    return Slot(name=name, stage=stage, choices=choices[: len(kinds)], make=make)


def layer(number: int, index: int) -> Slot:
    """One layer of a stage, of which the first is always there."""
    blocks = {**FFN, **(attending(number) if number >= 3 else {}), **(SKIP if index > 1 else {})}
    return Slot(
        name=f"stage{number}_{index}",
        stage=f"stage{number}",
        choices=(Choice("block", blocks),),
        make=lambda picked, shape: picked["block"],
    )


def space(resolution: Size = 224, classes: int = 1000, in_channels: int = 3) -> SearchSpace:
    """The space at 224; small images relax the early strides."""
    first, second, *strides = relax_strides(STRIDES, resolution)
    slots = [stem(STAGES[0][0], [first, second])]
    for number, (widths, depth) in enumerate(STAGES, 1):
        if number > 1:
            slots.append(down(number, widths, strides[number - 2]))
        slots += [layer(number, index) for index in range(1, depth + 1)]
    return SearchSpace(
        name="efficientformer_v2",
        input=Shape(in_channels, resolution),
        slots=(*slots, fixed("head", Norm(), Classifier(classes=classes))),
        paper="Li et al. 2023, https://arxiv.org/abs/2212.08059",
    )
