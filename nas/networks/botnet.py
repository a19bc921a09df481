"""BoTNet-26 and HaloNet-26, as timm trained them.

Srinivas et al. 2021, https://arxiv.org/abs/2101.11605; Vaswani et al. 2021,
https://arxiv.org/abs/2103.12731; configurations from huggingface/pytorch-image-models,
timm/models/byoanet.py (timm 1.0.31).
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.relative import BottleneckAttention, HaloAttention
from nas.ops.residual import Bottleneck, MaxPool
from nas.shape import Op

__all__ = ["NETWORKS"]

STEM = (
    Conv(kernel=3, channels=24, stride=2),
    Conv(kernel=3, channels=32),
    Conv(kernel=3, channels=64),
    MaxPool(),
)


def resnet26(attention: Op) -> Architecture:
    """Two blocks a stage; the last of the third stage and both of the fourth attend."""
    stages = (
        repeat(Bottleneck(channels=256), 2, 1),
        repeat(Bottleneck(channels=512), 2, 2),
        (Bottleneck(channels=1024, stride=2), attention.replace(channels=1024)),
        repeat(attention.replace(channels=2048), 2, 2),
    )
    return chain_stages(256, STEM, stages, (Classifier(),))


NETWORKS = tuple(
    Published(
        name=name,
        build=partial(resnet26, attention),
        source="huggingface/pytorch-image-models, timm/models/byoanet.py",
        macs_rule="fvcore",
    )
    for name, attention in (("botnet26t", BottleneckAttention()), ("halonet26t", HaloAttention()))
)
