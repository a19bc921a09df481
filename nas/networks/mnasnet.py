"""MnasNet A1, B1 and small, as released.

Tan et al. 2019, https://arxiv.org/abs/1807.11626, figure 7; block by block from the authors' code,
https://github.com/tensorflow/tpu/tree/master/models/official/mnasnet (mnasnet_models.py).
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv

__all__ = ["NETWORKS"]

SOURCE = "https://github.com/tensorflow/tpu, models/official/mnasnet/mnasnet_models.py"

Row = tuple[int, int, int, int, int, float, str]

# Layers, kernel, stride of the first layer, expansion, channels, squeeze-and-excitation, skip.
A1: tuple[Row, ...] = (
    (1, 3, 1, 1, 16, 0, "none"),
    (2, 3, 2, 6, 24, 0, "identity"),
    (3, 5, 2, 3, 40, 0.25, "identity"),
    (4, 3, 2, 6, 80, 0, "identity"),
    (2, 3, 1, 6, 112, 0.25, "identity"),
    (3, 5, 2, 6, 160, 0.25, "identity"),
    (1, 3, 1, 6, 320, 0, "identity"),
)
B1: tuple[Row, ...] = (
    (1, 3, 1, 1, 16, 0, "none"),
    (3, 3, 2, 3, 24, 0, "identity"),
    (3, 5, 2, 3, 40, 0, "identity"),
    (3, 5, 2, 6, 80, 0, "identity"),
    (2, 3, 1, 6, 96, 0, "identity"),
    (4, 5, 2, 6, 192, 0, "identity"),
    (1, 3, 1, 6, 320, 0, "none"),
)
SMALL: tuple[Row, ...] = (
    (1, 3, 1, 1, 8, 0, "identity"),
    (1, 3, 2, 3, 16, 0, "identity"),
    (2, 3, 2, 6, 16, 0, "identity"),
    (4, 5, 2, 6, 32, 0.25, "identity"),
    (3, 3, 1, 6, 32, 0.25, "identity"),
    (3, 5, 2, 6, 88, 0.25, "identity"),
    (1, 3, 1, 6, 144, 0, "identity"),
)


def mnasnet(rows: tuple[Row, ...], stem: int) -> Architecture:
    """One released network; the head has 1280 channels at every width."""
    return chain_stages(
        224,
        Conv(kernel=3, channels=stem, stride=2),
        (
            repeat(MBConv(kernel=k, expand=e, channels=c, se=se, skip=skip), n, s)
            for n, k, s, e, c, se, skip in rows
        ),
        (Conv(channels=1280), Classifier()),
    )


NETWORKS = tuple(
    Published(
        name=f"mnasnet_{name}",
        build=partial(mnasnet, rows, stem),
        source=SOURCE,
        space="mnasnet",
        head="fixed",
        macs_rule=macs,
    )
    for name, rows, stem, macs in (
        ("a1", A1, 32, "half of float operations"),
        ("b1", B1, 32, "conv+linear"),
        ("small", SMALL, 8, "conv+linear"),
    )
)
