"""Kernels between positions: scores of queries and keys, and what is done with them.

Scores count as a map over the queries, with a channel for each head and key. With ``rows`` windows,
shapes are those of one window.
"""

from nas.errors import ArchitectureError
from nas.shape import Kernel, Shape

__all__ = ["check_heads", "gram", "offset_bias", "score", "softmax", "talk", "weigh"]

LARGEST_HEADS = 256
LARGEST_HEAD = 1024


def check_heads(key: str, **settings: int) -> None:
    """Raise unless numbers of heads and of channels in a head can be built."""
    for name, value in settings.items():
        largest = LARGEST_HEADS if name == "heads" else LARGEST_HEAD
        if not 1 <= value <= largest:
            raise ArchitectureError(f"op '{key}': {name} must be 1 to {largest}, not {value}")


def score(queries: Shape, keys: Shape, heads: int, *, rows: int = 1) -> Kernel:
    """Products of queries and keys, which have the channels of all heads."""
    return Kernel(
        kind="matmul",
        in_channels=queries.channels,
        out_channels=heads * keys.positions,
        in_size=queries.size,
        out_size=queries.size,
        groups=heads,
        rows=rows,
    )


def softmax(queries: Shape, keys: Shape, heads: int, *, rows: int = 1) -> Kernel:
    """Scores to shares, per head and query."""
    return _between("softmax", queries, keys, heads, rows)


def offset_bias(queries: Shape, keys: Shape, heads: int, *, rows: int = 1) -> Kernel:
    """A trained value added per head and offset between two positions, its sign left out.

    Graham et al. 2021, LeViT, https://arxiv.org/abs/2104.01136, section 4.2. On a map of n x n keys
    there are n x n such offsets.
    """
    return _between("bias", queries, keys, heads, rows)


def weigh(queries: Shape, keys: Shape, values: int, heads: int, *, rows: int = 1) -> Kernel:
    """Values of all heads, ``values`` channels, summed with the scores as weights."""
    return Kernel(
        kind="matmul",
        in_channels=heads * keys.positions,
        out_channels=values,
        in_size=queries.size,
        out_size=queries.size,
        groups=heads,
        rows=rows,
    )


def gram(shape: Shape, heads: int) -> Kernel:
    """Products of queries and keys over all positions, for each two channels of a head."""
    return Kernel(
        kind="gram",
        in_channels=shape.channels,
        out_channels=shape.channels * (shape.channels // heads),
        in_size=shape.size,
        out_size=1,
        groups=heads,
    )


def talk(positions: int, heads: int) -> Kernel:
    """Each head's scores between as many queries and keys, mixed from those of all heads.

    Shazeer et al. 2020, https://arxiv.org/abs/2003.02436. A 1x1 convolution over a map of queries
    by keys.
    """
    return Kernel(
        kind="conv",
        in_channels=heads,
        out_channels=heads,
        in_size=positions,
        out_size=positions,
        bias=True,
    )


def _between(kind: str, queries: Shape, keys: Shape, heads: int, rows: int) -> Kernel:
    channels = heads * keys.positions
    return Kernel(
        kind=kind,
        in_channels=channels,
        out_channels=channels,
        in_size=queries.size,
        out_size=queries.size,
        groups=heads,
        rows=rows,
    )
