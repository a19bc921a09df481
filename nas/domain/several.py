"""Ways into several bounds, and about inside them, where draws under one seldom meet the others.

Sweeps of conditional draws start from networks inside. They are uniform in the limit.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.domain.bound import Bound
from nas.space import SearchSpace

__all__ = ["Inside", "descend", "excess", "one_gene_apart", "sweep"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Inside = Callable[[Integers], NDArray[np.bool_]]
"""genes: (n, number of choices). Whether each network meets all bounds, (n,)."""

GIBBS_SWEEPS = 8
SWEPT_TOGETHER = 64
"""More would take much memory where a slot has hundreds of options."""
SMALLEST_LOWER = 1e-9
"""Divides the shares, so that a lower bound of 0 can be missed without dividing by it."""


def sweep(
    space: SearchSpace, starts: Integers, inside: Inside, rng: np.random.Generator
) -> Integers:
    """Gibbs sampling: draw each slot anew among its options that stay inside, in several sweeps.

    starts: (n, number of choices), all inside. Returns as many networks, each from its start.
    """
    parts = range(0, len(starts), SWEPT_TOGETHER)
    swept = [_sweep(space, starts[i : i + SWEPT_TOGETHER], inside, rng) for i in parts]
    return np.concatenate([starts[:0], *swept])


def _sweep(
    space: SearchSpace, genes: Integers, inside: Inside, rng: np.random.Generator
) -> Integers:
    for _ in range(GIBBS_SWEEPS):
        for slot in rng.permutation(len(space.slots)):
            first, last, _ = space.radix[slot]
            if first == last:  # a slot without choices
                continue
            options = [space.slot_genes(slot, each) for each in range(space.slots[slot].options)]
            candidates = np.repeat(genes[:, None], len(options), axis=1)
            candidates[:, :, first:last] = options
            # Never from nothing: the network as it stands is one of them.
            allowed = inside(candidates.reshape(-1, genes.shape[1])).reshape(len(genes), -1)
            sums = allowed.cumsum(axis=1)
            places = rng.random(len(genes))[:, None] * sums[:, -1:]
            genes = candidates[np.arange(len(genes)), (sums <= places).sum(axis=1)]
    return genes


def excess(costs: Compiled, bounds: Sequence[Bound], genes: Integers) -> Floats:
    """genes: (n, number of choices). By what share of the bounds each breaks them, in all: (n,)."""
    priced = costs.price(genes)
    shares = []
    for bound in bounds:
        cost = priced[:, costs.column(bound.metric)]
        shares.append(np.maximum(cost / bound.upper - 1, 0))
    for bound in bounds:
        if bound.lower > -math.inf:
            missing = np.maximum(bound.lower - priced[:, costs.column(bound.metric)], 0)
            shares.append(missing / max(abs(bound.lower), SMALLEST_LOWER))
    # As shares of their bounds, milliseconds and bytes can be added up.
    return np.asarray(np.sum(shares, axis=0))


def descend(
    genes: Integers, score: Callable[[Integers], Floats], sizes: Sequence[int]
) -> tuple[Integers, float]:
    """genes: (number of choices,). Change one gene at a time, until no change lowers the score.

    Returns the genes reached, and their score.
    """
    lowest = float(score(genes[None])[0])
    while lowest > 0:
        near = one_gene_apart(genes.tolist(), sizes)
        scores = score(near)
        if scores.min() >= lowest:
            break
        genes = near[scores.argmin()]
        lowest = float(score(genes[None])[0])
    return genes, lowest


def one_gene_apart(genes: Sequence[int], sizes: Sequence[int]) -> Integers:
    """All gene tuples that differ in one place: (n, number of choices), in gene order."""
    rows = []
    for place, size in enumerate(sizes):
        for option in range(size):
            if option != genes[place]:
                rows.append((*genes[:place], option, *genes[place + 1 :]))
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(genes))
