"""NK landscapes over the genes of any space: ruggedness by choice, a known optimum, optional noise.

Kauffman and Weinberger 1989, https://doi.org/10.1016/S0022-5193(89)80019-0, with adjacent genes:
each gene contributes a random number that depends on itself and on the next K genes. A network's
value is that of its canonical genes, so equal networks have equal values. Seeds 0 to 19 are for
development, 100 to 119 to report. K = 0 is additive: a sanity check, no ground for claims.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.benchmarks._windows import Windows, landscape_problem, macs_domain, relevant
from nas.domain import Domain
from nas.errors import UsageError
from nas.space import SearchSpace
from nas.trial import Genes
from search_spaces import fbnet

__all__ = ["Landscape", "benchmark"]


def benchmark(
    *,
    seed: int,
    space: SearchSpace | None = None,
    k: int = 2,
    noise: float = 0.0,
    irrelevant: float = 0.0,
    max_macs: float = math.inf,
) -> Problem:
    """Loss: minus the value, in standard deviations of the landscape over uniform genes; mean 0.

    ``noise``: standard deviation, same unit, of what a search sees of a network, fixed per network.
    ``irrelevant``: the share of genes that contribute nothing. ``max_macs`` is a bound. Default
    space: FBNet. The hypervolume's reference is the landscape's mean.
    """
    domain = macs_domain(fbnet.space() if space is None else space, max_macs)
    landscape = Landscape(domain, seed=seed, k=k, irrelevant=irrelevant)
    return landscape_problem(landscape, noise)


class Landscape(Windows):
    """Contributions are hashes of (seed, gene, window), 0..1: the same on every machine."""

    def __init__(self, domain: Domain, *, seed: int, k: int, irrelevant: float = 0.0) -> None:
        genes = len(domain.space.gene_sizes)
        if not 0 <= k < genes or not 0 <= irrelevant < 1:
            raise UsageError(
                f"an NK landscape takes k from 0 to {genes - 1} "
                f"and irrelevant from 0 to below 1, not {k} and {irrelevant:g}"
            )
        super().__init__(domain, relevant(genes, irrelevant, seed), k, seed)

    def table(self, j: int) -> NDArray[np.float64]:
        """See `Windows`."""
        shape = [self.sizes[i] for i in self.windows[j]]
        every = np.indices(shape).reshape(len(shape), -1).T
        return self.contribution(j, every).reshape(shape)

    def contribution(self, j: int, genes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """genes: (n, genes of window j). Contributions 0..1: (n,)."""
        # Room for 65,536 genes beneath each seed.
        mixed = np.full(len(genes), (self.seed << 16) + j, np.uint64)
        for column in np.asarray(genes, np.uint64).T:
            # Plus one, as option 0 would leave the state as it is.
            mixed = _mix(mixed ^ (column + np.uint64(1)))
        # 53 bits: as many as a float64 holds exactly.
        return np.asarray((_mix(mixed) >> np.uint64(11)).astype(np.float64) / (1 << 53))

    def _scaled(self, total: float) -> float:
        """A sum of contributions as a loss in standard deviations."""
        # A uniform number on 0..1 has mean 1/2 and variance 1/12.
        n = len(self.sizes)
        return (n / 2 - total) / math.sqrt(n / 12)

    def loss(self, genes: Genes) -> float:
        """Minus the value of a network, in standard deviations."""
        return self._scaled(self.value(genes))

    def least_loss(self) -> float:
        """The least loss of a network inside, see `Windows.most`."""
        return self._scaled(self.most())


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
