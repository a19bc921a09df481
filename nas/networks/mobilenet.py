"""MobileNetV2 and MobileNetV3 Large and Small.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2; Howard et al. 2019,
https://arxiv.org/abs/1905.02244, tables 1 and 2.
"""

import dataclasses
from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op

__all__ = ["NETWORKS"]

# Expansion, channels, layers, stride of the first layer.
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2() -> Architecture:
    """Table 2; every activation is ReLU6."""
    return chain_stages(
        224,
        Conv(kernel=3, channels=32, stride=2, act="relu6"),
        (repeat(MBConv(expand=e, channels=c, act="relu6"), n, s) for e, c, n, s in V2),
        (Conv(channels=1280, act="relu6"), Classifier()),
    )


# Kernel, expansion, channels, squeeze-and-excitation, activation, stride.
V3Row = tuple[int, float, int, bool, str, int]
V3_LARGE: tuple[V3Row, ...] = (
    (3, 1, 16, False, "relu", 1),
    (3, 4, 24, False, "relu", 2),
    (3, 3, 24, False, "relu", 1),
    (5, 3, 40, True, "relu", 2),
    (5, 3, 40, True, "relu", 1),
    (5, 3, 40, True, "relu", 1),
    (3, 6, 80, False, "hswish", 2),
    (3, 2.5, 80, False, "hswish", 1),
    (3, 2.3, 80, False, "hswish", 1),
    (3, 2.3, 80, False, "hswish", 1),
    (3, 6, 112, True, "hswish", 1),
    (3, 6, 112, True, "hswish", 1),
    (5, 6, 160, True, "hswish", 2),
    (5, 6, 160, True, "hswish", 1),
    (5, 6, 160, True, "hswish", 1),
)
V3_SMALL: tuple[V3Row, ...] = (
    (3, 1, 16, True, "relu", 2),
    (3, 4.5, 24, False, "relu", 2),
    (3, 3.67, 24, False, "relu", 1),
    (5, 4, 40, True, "hswish", 2),
    (5, 6, 40, True, "hswish", 1),
    (5, 6, 40, True, "hswish", 1),
    (5, 3, 48, True, "hswish", 1),
    (5, 3, 48, True, "hswish", 1),
    (5, 6, 96, True, "hswish", 2),
    (5, 6, 96, True, "hswish", 1),
    (5, 6, 96, True, "hswish", 1),
)


def v3_block(kernel: int, expand: float, channels: int, se: bool, act: str, stride: int) -> MBConv:
    """Squeeze-and-excitation: a quarter of the expanded channels, ReLU and a hard sigmoid."""
    made = MBConv(kernel=kernel, expand=expand, channels=channels, act=act, stride=stride)
    return (
        dataclasses.replace(made, se=0.25, se_base="expanded", se_act="relu", se_gate="hsigmoid")
        if se
        else made
    )


def mobilenet_v3(rows: tuple[V3Row, ...], last: int, hidden: int) -> Architecture:
    """Tables 1 and 2; a stage ends where the channels change."""
    stages: list[list[Op]] = []
    for row in rows:
        if not stages or row[2] != stages[-1][-1].settings["channels"]:
            stages.append([])
        stages[-1].append(v3_block(*row))
    return chain_stages(
        224,
        Conv(kernel=3, channels=16, stride=2, act="hswish"),
        map(tuple, stages),
        (Conv(channels=last, act="hswish"), Classifier(hidden=hidden, act="hswish")),
    )


V3_SOURCE = "https://arxiv.org/abs/1905.02244"
NETWORKS = (
    Published(
        name="mobilenet_v2", build=mobilenet_v2, source="https://arxiv.org/abs/1801.04381, table 2"
    ),
    Published(
        name="mobilenet_v3_large",
        build=partial(mobilenet_v3, V3_LARGE, 960, 1280),
        source=f"{V3_SOURCE}, table 1",
        space="mobilenet_v3",
    ),
    Published(
        name="mobilenet_v3_small",
        build=partial(mobilenet_v3, V3_SMALL, 576, 1024),
        source=f"{V3_SOURCE}, table 2",
    ),
)
