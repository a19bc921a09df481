"""Once-for-all's space around MobileNetV3: depth per stage, kernel and expansion per block.

Cai et al. 2020, Once-for-All: Train One Network and Specialize it for Efficient Deployment,
https://arxiv.org/abs/1908.09791; stages as in mit-han-lab/once-for-all, `ofa_mbv3.py`, commit
80a2e26. The paper keeps the first `depth` blocks of a stage. Here a stage's third and fourth block
may each be left out, which spells the same networks: 9^2 (1 + 9 + 9^2) = 7,371 a stage.

The paper also searches the resolution, 128 to 224. That is a choice where it is asked for, as of
every space: ``--resolution 128,160,192,224``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.errors import UsageError
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op, Shape
from nas.size import Size
from nas.space import Choice, SearchSpace, Slot, fixed, make_divisible, relax_strides

__all__ = ["space"]

# Channels, stride of the first block, activation, squeeze-and-excitation.
STAGES = (
    (24, 2, "relu", False),
    (40, 2, "relu", True),
    (80, 2, "hswish", False),
    (112, 1, "hswish", True),
    (160, 2, "hswish", True),
)
STEM, FIRST, LAST, HIDDEN = 16, 16, 960, 1280
WIDTHS = (1.0, 1.2)
LEAST_DEPTH, GREATEST_DEPTH = 2, 4

# MobileNetV3's (Howard et al. 2019, https://arxiv.org/abs/1905.02244, section 5.3).
SQUEEZE = {"se": 0.25, "se_base": "expanded", "se_act": "relu", "se_gate": "hsigmoid"}

CHOICES = (
    Choice("kernel", (3, 5, 7), ordinal=True),
    Choice("expand", (3, 4, 6), ordinal=True),
)
KEPT = Choice("kept", {"yes": True, "no": False})


def block(stage: int, index: int, op: Op) -> Slot:
    """One searched block; those beyond the least depth may be left out."""

    def make(picked: Mapping[str, Any], shape: Shape) -> Iterator[Op]:
        if picked.get("kept", True):
            yield op.replace(kernel=picked["kernel"], expand=picked["expand"])

    return Slot(
        name=f"stage{stage}_{index}",
        stage=f"stage{stage}",
        choices=CHOICES if index <= LEAST_DEPTH else (KEPT, *CHOICES),
        make=make,
    )


def space(
    resolution: Size = 224, classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> SearchSpace:
    """The paper's space at ``width`` 1 or 1.2; small images relax the early strides."""
    if width not in WIDTHS:
        raise UsageError(f"width of space 'mobilenet_v3' must be 1.0 or 1.2, not {width}")
    stem, first, last, hidden = (make_divisible(c * width) for c in (STEM, FIRST, LAST, HIDDEN))
    stem_stride, *strides = relax_strides((2, *(row[1] for row in STAGES)), resolution)
    slots = [
        fixed("stem", Conv(kernel=3, channels=stem, stride=stem_stride, act="hswish")),
        fixed("stage1", MBConv(expand=1, channels=first)),
    ]
    for stage, ((channels, _, act, squeezes), stride) in enumerate(
        zip(STAGES, strides, strict=True), 2
    ):
        op: Op = MBConv(channels=make_divisible(channels * width), act=act)
        if squeezes:
            op = op.replace(**SQUEEZE)
        slots.append(block(stage, 1, op.replace(stride=stride)))
        slots += [block(stage, index, op) for index in range(2, GREATEST_DEPTH + 1)]
    # The mixing layer behind the pool has neither bias nor norm.
    mixing = Classifier(classes=classes, hidden=hidden, hidden_bias=False, act="hswish")
    slots.append(fixed("head", Conv(channels=last, act="hswish"), mixing))
    return SearchSpace(
        name="mobilenet_v3" if width == 1 else f"mobilenet_v3:width={width}",
        input=Shape(in_channels, resolution),
        slots=tuple(slots),
        paper="Cai et al. 2020, https://arxiv.org/abs/1908.09791",
    )
