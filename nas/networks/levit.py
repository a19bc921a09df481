"""LeViT 128S to 384.

Graham et al. 2021, https://arxiv.org/abs/2104.01136, table 1; configurations from
huggingface/pytorch-image-models, timm/models/levit.py (0173a139).
"""

from functools import partial

from nas.arch import Architecture, Stage
from nas.networks.published import Published
from nas.ops.conv import Classifier, Conv
from nas.ops.levit import LevitAttention, LevitDown
from nas.ops.uib import UIB
from nas.shape import Op, Shape

__all__ = ["NETWORKS"]

# Channels of a key; per stage its width, heads and depth.
VARIANTS = {
    "128s": (16, ((128, 4, 2), (256, 6, 3), (384, 8, 4))),
    "128": (16, ((128, 4, 4), (256, 8, 4), (384, 12, 4))),
    "192": (32, ((192, 3, 4), (288, 5, 4), (384, 6, 4))),
    "256": (32, ((256, 4, 4), (384, 6, 4), (512, 8, 4))),
    "384": (32, ((384, 6, 4), (512, 9, 4), (768, 12, 4))),
}
FFN = UIB(first=0, kernel=0, expand=2, act="hswish")


def levit(name: str) -> Architecture:
    """One network of table 1, without the second classifier that learns from a teacher."""
    key, stages = VARIANTS[name]
    before = stages[0][0]
    stem = [Conv(kernel=3, channels=before // n, stride=2, act="hswish") for n in (8, 4, 2)]
    stem.append(Conv(kernel=3, channels=before, stride=2, act=""))
    named = [Stage("stem", tuple(stem))]
    for number, (width, heads, depth) in enumerate(stages, 1):
        ops: list[Op] = []
        if number > 1:
            down = LevitDown(
                channels=width, heads=before // key, key_channels=key, value_channels=4 * key
            )
            ops += [down, FFN]
        attention = LevitAttention(heads=heads, key_channels=key, value_channels=2 * key)
        ops += [attention, FFN] * depth
        named.append(Stage(f"stage{number}", tuple(ops)))
        before = width
    named.append(Stage("head", (Classifier(norm="batch"),)))
    return Architecture(Shape(3, 224), tuple(named))


NETWORKS = tuple(
    Published(
        name=f"levit_{name}",
        build=partial(levit, name),
        source="huggingface/pytorch-image-models, timm/models/levit.py",
        params_rule="with a distillation head",
        macs_rule="fvcore",
    )
    for name in VARIANTS
)
