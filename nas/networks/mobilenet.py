"""MobileNetV2: Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2."""

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv

__all__ = ["NETWORKS"]

# Expansion, channels, layers, stride of the first layer.
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2() -> Architecture:
    """Table 2; every activation is ReLU6."""
    return chain_stages(
        224,
        Conv(kernel=3, channels=32, stride=2, act="relu6"),
        (repeat(MBConv(expand=e, channels=c, act="relu6"), n, s) for e, c, n, s in V2),
        (Conv(channels=1280, act="relu6"), Classifier()),
    )


NETWORKS = (Published(name="mobilenet_v2", build=mobilenet_v2, source="https://arxiv.org/abs/1801.04381, table 2"),)
