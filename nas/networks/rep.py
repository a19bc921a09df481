"""RepVGG-A0 and MobileOne-S1, whose branches are folded to be shipped.

Ding et al. 2021, https://arxiv.org/abs/2101.03697, table 2; Vasu et al. 2023,
https://arxiv.org/abs/2206.04040, table 9.
"""

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier
from nas.ops.rep import RepConv
from nas.shape import Op

__all__ = ["NETWORKS"]

# Channels and layers of each stage, all of which begin with a stride.
REPVGG_A0 = ((48, 2), (96, 4), (192, 14), (1280, 1))
MOBILEONE_S1 = ((96, 2), (192, 8), (512, 10), (1280, 1))


def repvgg_a0() -> Architecture:
    """Table 2: dense 3x3 kernels alone."""
    stages = [repeat(RepConv(channels=channels), count, 2) for channels, count in REPVGG_A0]
    return chain_stages(224, RepConv(channels=48, stride=2), stages, (Classifier(),))


def mobileone_s1() -> Architecture:
    """Table 9: a depthwise 3x3 kernel and a 1x1 kernel a layer."""
    stages = []
    for channels, count in MOBILEONE_S1:
        stage: list[Op] = []
        for layer in range(count):
            stage.append(RepConv(depthwise=True, stride=2 if layer == 0 else 1))
            stage.append(RepConv(kernel=1, channels=channels))
        stages.append(tuple(stage))
    return chain_stages(224, RepConv(channels=64, stride=2), stages, (Classifier(),))


TIMM = "timm 1.0.31, timm/models/byobnet.py"
NETWORKS = (
    Published(name="repvgg_a0", build=repvgg_a0, source=TIMM, trained=True),
    Published(name="mobileone_s1", build=mobileone_s1, source=TIMM),
)
