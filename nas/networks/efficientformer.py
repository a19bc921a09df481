"""EfficientFormerV2 S0, S1, S2 and L.

Li et al. 2023, https://arxiv.org/abs/2212.08059, table 7; widths, depths and expansions from
huggingface/pytorch-image-models, timm/models/efficientformer_v2.py (0173a139).
"""

from collections.abc import Iterator
from functools import partial

from nas.arch import Architecture, Stage
from nas.networks.published import Published
from nas.ops.conv import Classifier, Conv, Norm
from nas.ops.efficientformer import AttentionDown, ConvFFN, TalkingAttention
from nas.shape import Op, Shape

__all__ = ["NETWORKS", "VARIANTS"]

# Per stage its width and the expansions of its layers; the last so many layers of the last two
# stages attend.
Stages = tuple[tuple[int, tuple[int, ...]], ...]
VARIANTS: dict[str, tuple[Stages, int]] = {
    "s0": ((
        (32, (4,) * 2),
        (48, (4,) * 2),
        (96, (4, 3, 3, 3, 4, 4)),
        (176, (4, 3, 3, 4)),
    ), 2),
    "s1": ((
        (32, (4,) * 3),
        (48, (4,) * 3),
        (120, (4, 4, 3, 3, 3, 3, 4, 4, 4)),
        (224, (4, 4, 3, 3, 4, 4)),
    ), 2),
    "s2": ((
        (32, (4,) * 4),
        (64, (4,) * 4),
        (144, (4, 4, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4)),
        (288, (4, 4, 3, 3, 3, 3, 4, 4)),
    ), 4),
    "l": ((
        (40, (4,) * 5),
        (80, (4,) * 5),
        (192, (4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4)),
        (384, (4, 4, 4, 3, 3, 3, 3, 4, 4, 4)),
    ), 6),
}  # fmt: skip


def layers(number: int, expansions: tuple[int, ...], attending: int) -> Iterator[Op]:
    """The blocks of a stage, 1 to 4; attention of the third works on a smaller map."""
    first = len(expansions) - attending if number >= 3 else len(expansions)
    for index, expand in enumerate(expansions):
        if index >= first:
            yield TalkingAttention(inner_stride=2 if number == 3 else 1)
        yield ConvFFN(expand=expand)


def efficientformer_v2(name: str) -> Architecture:
    """One released network, without the second classifier that learns from a teacher.

    Theirs gives the mean of both classifiers, which is one linear layer.
    """
    stages, attending = VARIANTS[name]
    width = stages[0][0]
    stem = (
        Conv(kernel=3, channels=width // 2, stride=2, act="gelu", bias=True),
        Conv(kernel=3, channels=width, stride=2, act="gelu", bias=True),
    )
    named = [Stage("stem", stem)]
    for number, (channels, expansions) in enumerate(stages, 1):
        ops: list[Op] = []
        if number in (2, 3):
            ops.append(Conv(kernel=3, channels=channels, stride=2, act="", bias=True))
        if number == 4:
            ops.append(AttentionDown(channels=channels))
        ops += layers(number, expansions, attending)
        named.append(Stage(f"stage{number}", tuple(ops)))
    named.append(Stage("head", (Norm(), Classifier())))
    return Architecture(Shape(3, 224), tuple(named))


NETWORKS = tuple(
    Published(
        name=f"efficientformerv2_{name}",
        build=partial(efficientformer_v2, name),
        source="huggingface/pytorch-image-models, timm/models/efficientformer_v2.py",
        space="efficientformer_v2",
        params_rule="with a distillation head",
        macs_rule="fvcore",
    )
    for name in VARIANTS
)
