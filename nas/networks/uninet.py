"""UniNet B0 to B6, as released.

Liu et al. 2022, https://arxiv.org/abs/2207.05420; configurations from the authors' code,
https://github.com/Sense-X/UniNet (uninet.py).
"""

from functools import partial

from nas.arch import Architecture
from nas.networks.published import Published, chain_stages
from nas.ops.conv import Classifier, Conv
from nas.ops.down import LocalDown, LocalGlobalDown
from nas.ops.unified import AttentionBlock, ConvBlock
from nas.shape import Op

__all__ = ["NETWORKS"]

SOURCE = "https://github.com/Sense-X/UniNet, uninet.py"

# Per stage: stride, expansion; a down-sampling module precedes every stage but the first.
STRIDES, EXPANSION = (1, 2, 2, 2, 1, 2), (1, 4, 6, 3, 2, 5)
DOWN = (None, LocalDown, LocalDown, LocalDown, LocalGlobalDown, LocalGlobalDown)

# Repeats and channels per stage, resolution.
VARIANTS = {
    "b0": ((1, 2, 4, 4, 4, 8), (24, 48, 80, 128, 128, 256), 160),
    "b1": ((1, 2, 4, 4, 4, 8), (24, 48, 80, 128, 128, 256), 224),
    "b2": ((2, 3, 6, 6, 6, 12), (24, 48, 80, 128, 128, 256), 256),
    "b3": ((2, 3, 7, 7, 7, 14), (24, 56, 96, 160, 160, 288), 288),
    "b4": ((2, 4, 9, 9, 9, 18), (32, 64, 112, 192, 192, 352), 320),
    "b5": ((3, 5, 10, 10, 10, 20), (32, 64, 112, 224, 224, 448), 384),
    "b6": ((4, 6, 12, 12, 12, 24), (48, 96, 160, 256, 256, 512), 448),
}


def stage(index: int, repeats: int, channels: int) -> tuple[Op, ...]:
    """Stages 1 to 4 are depthwise convolutions, 5 and 6 attention."""
    down, expand = DOWN[index], EXPANSION[index]
    first: tuple[Op, ...] = (down(channels=channels, stride=STRIDES[index]),) if down else ()
    if index >= 4:
        return first + (AttentionBlock(expand=expand),) * repeats
    blocks = [ConvBlock(expand=expand) for _ in range(repeats)]
    if not down:
        blocks[0] = ConvBlock(expand=expand, channels=channels)
    return (*first, *blocks)


def uninet(repeats: tuple[int, ...], channels: tuple[int, ...], resolution: int) -> Architecture:
    """One released network."""
    return chain_stages(
        resolution,
        Conv(kernel=3, channels=32, stride=2, act="gelu"),
        (stage(index, *row) for index, row in enumerate(zip(repeats, channels, strict=True))),
        (Conv(channels=1280, act="gelu"), Classifier()),
    )


NETWORKS = tuple(
    Published(
        name=f"uninet_{name}",
        build=partial(uninet, *row),
        source=SOURCE,
        space="uninet",
        head="fixed",
        macs_rule="fvcore",
    )
    for name, row in VARIANTS.items()
)
