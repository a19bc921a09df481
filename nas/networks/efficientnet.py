"""EfficientNet B0 to B8 and L2, EfficientNetV2 S, M, L, XL and B0 to B3.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, table 1; Tan and Le 2021,
https://arxiv.org/abs/2104.00298, table 4; the larger ones from the authors' code,
https://github.com/google/automl (efficientnetv2) and https://github.com/tensorflow/tpu
(models/official/efficientnet).
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages, repeat
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.scale import Rounding, round_plain, scaled
from nas.shape import Op, make_divisible

__all__ = ["NETWORKS"]

V1_SOURCE = (
    "https://github.com/tensorflow/tpu, models/official/efficientnet/efficientnet_builder.py"
)
V2_SOURCE = "https://github.com/google/automl, efficientnetv2/effnetv2_configs.py"

# Layers, kernel, stride, expansion, channels; squeeze-and-excitation 0.25 everywhere.
B0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# Width, depth, resolution.
V1 = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
    "b8": (2.2, 3.6, 672),
    "l2": (4.3, 5.3, 800),
}
V2_BASE = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
}

# Fused or not, layers, stride, expansion, channels; kernel 3; unfused stages have
# squeeze-and-excitation 0.25.
V2Row = tuple[bool, int, int, int, int]
V2: dict[str, tuple[int, int, tuple[V2Row, ...]]] = {
    "s": (24, 384, (
        (True, 2, 1, 1, 24),
        (True, 4, 2, 4, 48),
        (True, 4, 2, 4, 64),
        (False, 6, 2, 4, 128),
        (False, 9, 1, 6, 160),
        (False, 15, 2, 6, 256),
    )),
    "m": (24, 480, (
        (True, 3, 1, 1, 24),
        (True, 5, 2, 4, 48),
        (True, 5, 2, 4, 80),
        (False, 7, 2, 4, 160),
        (False, 14, 1, 6, 176),
        (False, 18, 2, 6, 304),
        (False, 5, 1, 6, 512),
    )),
    "l": (32, 480, (
        (True, 4, 1, 1, 32),
        (True, 7, 2, 4, 64),
        (True, 7, 2, 4, 96),
        (False, 10, 2, 4, 192),
        (False, 19, 1, 6, 224),
        (False, 25, 2, 6, 384),
        (False, 7, 1, 6, 640),
    )),
    "xl": (32, 512, (
        (True, 4, 1, 1, 32),
        (True, 8, 2, 4, 64),
        (True, 8, 2, 4, 96),
        (False, 16, 2, 4, 192),
        (False, 24, 1, 6, 256),
        (False, 32, 2, 6, 512),
        (False, 8, 1, 6, 640),
    )),
    "b0": (32, 224, (
        (True, 1, 1, 1, 16),
        (True, 2, 2, 4, 32),
        (True, 2, 2, 4, 48),
        (False, 3, 2, 4, 96),
        (False, 5, 1, 6, 112),
        (False, 8, 2, 6, 192),
    )),
}  # fmt: skip


def v1(width: float, depth: float, resolution: int) -> Architecture:
    """B0 scaled by the compound rule."""
    base = chain_stages(
        224,
        Conv(kernel=3, channels=32, stride=2, act="swish"),
        (
            repeat(MBConv(kernel=k, expand=e, channels=c, se=0.25, act="swish"), n, s)
            for n, k, s, e, c in B0
        ),
        (Conv(channels=1280, act="swish"), Classifier()),
    )
    return scaled(base, width=width, depth=depth, resolution=resolution, head="scale")


def block(fused: bool, expand: int, channels: int) -> Op:
    """A block of EfficientNetV2."""
    if fused:
        return FusedMBConv(expand=expand, channels=channels, act="swish")
    return MBConv(expand=expand, channels=channels, se=0.25, act="swish")


def v2(name: str) -> Architecture:
    """A network of table 4, or the base of B0 to B3."""
    stem, resolution, rows = V2[name]
    return chain_stages(
        resolution,
        Conv(kernel=3, channels=stem, stride=2, act="swish"),
        (repeat(block(fused, e, c), n, s) for fused, n, s, e, c in rows),
        (Conv(channels=1280, act="swish"), Classifier()),
    )


def v2_scaled(width: float, depth: float, resolution: int) -> Architecture:
    """The base scaled by the compound rule."""
    return scaled(
        v2("b0"),
        width=width,
        depth=depth,
        resolution=resolution,
        head="scale",
        rounding=round_plain,
    )


def _published(
    name: str,
    build: "partial[Architecture]",
    source: str,
    space: str,
    rounding: Rounding,
    macs_rule: str = "conv+linear",
) -> Published:
    return Published(
        name=name,
        build=build,
        source=source,
        space=space,
        head="scale",
        rounding=rounding,
        macs_rule=macs_rule,
    )


NETWORKS = (
    *(
        _published(
            f"efficientnet_{n}",
            partial(v1, *row),
            V1_SOURCE,
            "fused_mbconv:base=b4" if n == "b4" else "",
            make_divisible,
        )
        for n, row in V1.items()
    ),
    *(
        _published(f"efficientnet_v2_{n}", partial(v2, n), V2_SOURCE, "fused_mbconv", round_plain)
        for n in ("s", "m", "l", "xl")
    ),
    *(
        _published(
            f"efficientnet_v2_{n}",
            partial(v2_scaled, *row),
            V2_SOURCE,
            "fused_mbconv:base=b0",
            round_plain,
            "fvcore",
        )
        for n, row in V2_BASE.items()
    ),
)
