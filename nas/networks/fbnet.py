"""FBNet A, B and C, as released.

Wu et al. 2019, https://arxiv.org/abs/1812.03443; layer by layer from the authors' code,
https://github.com/facebookresearch/mobile-vision (fbnet_v2/fbnet_modeldef_cls_fbnet.py). The
released blocks have no first 1x1 convolution at expansion 1, which the paper's figure and the
search space have.
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op

__all__ = ["NETWORKS"]

SOURCE = "https://github.com/facebookresearch/mobile-vision, fbnet_v2/fbnet_modeldef_cls_fbnet.py"

# Table 1: channels and stride of the first layer, per stage.
STAGES = ((16, 1), (24, 2), (32, 2), (64, 2), (112, 1), (184, 2), (352, 1))

# Blocks per stage; "-" is the identity.
A = (
    "-",
    "k3_e3 k3_e1 - -",
    "k5_e6 k3_e3 k5_e1 k3_e3",
    "k5_e6 k5_e3 k5_e1_g2 k5_e6",
    "k3_e6 k5_e1_g2 k5_e3 k3_e1_g2",
    "k5_e6 k5_e6 k5_e3 k5_e6",
    "k5_e6",
)
B = (
    "k3_e1",
    "k3_e6 k5_e1 k3_e1 k3_e1",
    "k5_e6 k5_e3 k3_e6 k5_e6",
    "k5_e6 k5_e6 - k5_e3",
    "k5_e6 k3_e1 k5_e1 k5_e3",
    "k5_e6 k5_e1 k5_e6 k5_e6",
    "k3_e6",
)
C = (
    "k3_e1",
    "k3_e6 - k3_e1 k3_e1",
    "k5_e6 k5_e3 k5_e6 k3_e6",
    "k5_e6 k5_e3 k5_e6 k5_e6",
    "k5_e6 k5_e6 k5_e6 k5_e3",
    "k5_e6 k5_e6 k5_e6 k5_e6",
    "k3_e6",
)


def block(name: str, channels: int, stride: int) -> Op:
    """A block by its name: ``k5_e1_g2`` is kernel 5, expansion 1, two groups."""
    settings = {part[0]: int(part[1:]) for part in name.split("_")}
    return MBConv(
        kernel=settings["k"],
        expand=settings["e"],
        groups=settings.get("g", 1),
        channels=channels,
        stride=stride,
    )


def fbnet(rows: tuple[str, ...], head: int) -> Architecture:
    """One released network."""
    stages = (
        tuple(
            block(name, channels, stride if index == 0 else 1)
            for index, name in enumerate(row.split())
            if name != "-"
        )
        for row, (channels, stride) in zip(rows, STAGES, strict=True)
    )
    return chain_stages(
        224, Conv(kernel=3, channels=16, stride=2), stages, (Conv(channels=head), Classifier())
    )


NETWORKS = tuple(
    Published(
        name=f"fbnet_{name}",
        build=partial(fbnet, rows, head),
        source=SOURCE,
        space="fbnet",
        params_rule="conv and classifier weights",
        macs_rule="conv+linear+average pool",
    )
    for name, rows, head in (("a", A, 1504), ("b", B, 1984), ("c", C, 1984))
)
