"""GhostNet at widths 1.0 and 1.3.

Han et al. 2020, https://arxiv.org/abs/1911.11907, table 7.
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages
from nas.ops.conv import Classifier, Conv
from nas.ops.ghost import GhostBottleneck
from nas.shape import Op, make_divisible

__all__ = ["NETWORKS"]

# Per stage and block: kernel, expanded channels, channels, squeeze-and-excitation, stride.
Row = tuple[int, int, int, float, int]
TABLE: tuple[tuple[Row, ...], ...] = (
    ((3, 16, 16, 0, 1),),
    ((3, 48, 24, 0, 2), (3, 72, 24, 0, 1)),
    ((5, 72, 40, 0.25, 2), (5, 120, 40, 0.25, 1)),
    (
        (3, 240, 80, 0, 2),
        (3, 200, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 184, 80, 0, 1),
        (3, 480, 112, 0.25, 1),
        (3, 672, 112, 0.25, 1),
    ),
    (
        (5, 672, 160, 0.25, 2),
        (5, 960, 160, 0, 1),
        (5, 960, 160, 0.25, 1),
        (5, 960, 160, 0, 1),
        (5, 960, 160, 0.25, 1),
    ),
)
STEM, LAST, HIDDEN = 16, 960, 1280

rounding = partial(make_divisible, divisor=4)


def ghostnet(width: float) -> Architecture:
    """Table 7, channels and expanded channels times ``width``, rounded to multiples of 4."""
    stem = rounding(STEM * width)
    stages: list[tuple[Op, ...]] = []
    before = stem
    for rows in TABLE:
        stage: list[Op] = []
        for kernel, expanded, channels, se, stride in rows:
            # To four digits: the block rounds its expanded channels to a multiple of 4 again.
            expand = round(rounding(expanded * width) / before, 4)
            before = rounding(channels * width)
            block = GhostBottleneck(
                kernel=kernel, expand=expand, channels=before, stride=stride, se=se
            )
            stage.append(block)
        stages.append(tuple(stage))
    return chain_stages(
        224,
        Conv(kernel=3, channels=stem, stride=2),
        stages,
        (Conv(channels=rounding(LAST * width)), Classifier(hidden=HIDDEN)),
    )


SOURCE = "https://arxiv.org/abs/1911.11907, table 7, and timm 1.0.31, timm/models/ghostnet.py"
NETWORKS = (
    Published(
        name="ghostnet_100",
        build=partial(ghostnet, 1.0),
        source=SOURCE,
        head="scale",
        rounding=rounding,
    ),
    Published(
        name="ghostnet_130",
        build=partial(ghostnet, 1.3),
        source=SOURCE,
        head="scale",
        rounding=rounding,
    ),
)
