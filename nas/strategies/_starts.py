"""Networks that a search begins with."""

import numpy as np
from numpy.typing import NDArray

from nas import networks
from nas.domain import Domain
from nas.errors import UsageError
from nas.networks.membership import membership
from nas.strategies.base import rng
from nas.trial import Genes

__all__ = ["inside", "warm"]

MIXTURES = 8


def warm(names: str, domain: Domain, seed: int) -> list[Genes]:
    """The points of the domain nearest to published networks; ``names`` are joined by ``+``.

    Raises `UsageError` for an unknown name, and if the space has no stages that correspond to the
    network's.
    """
    starts = []
    logits = domain.space.chain[-1].words[0][0][-1].out_shape
    image = domain.space.input
    for place, name in enumerate(filter(None, names.split("+"))):
        network = networks.get(
            name, resolution=image.size, classes=logits.channels, in_channels=image.channels
        )
        member = membership(network, domain.space)
        if member.genes is None:
            raise UsageError(
                f"no search of space '{domain.space.name}' can start from '{name}': {member}"
            )
        starts.append(inside(member.genes, domain, rng(seed, "warm", place)))
    return starts


def inside(genes: Genes, domain: Domain, generator: np.random.Generator) -> Genes:
    """The genes themselves if they keep all bounds.

    Else their mixture with a random network inside that keeps the most of them.
    """
    if domain.contains(genes):
        return genes
    drawn: NDArray[np.int64] = domain.sample_many(MIXTURES, generator)
    ranks = generator.permuted(np.tile(np.arange(len(genes)), (MIXTURES, 1)), axis=1)
    # The fewest changes come first, so `argmax` finds a mixture that keeps the most genes. The last
    # rows are the drawn networks themselves, so one row is always inside.
    changed = np.arange(1, len(genes) + 1)[:, None, None]
    mixed = np.where(ranks < changed, drawn, np.array(genes)).reshape(-1, len(genes))
    return tuple(mixed[np.argmax(domain.inside(mixed))].tolist())
