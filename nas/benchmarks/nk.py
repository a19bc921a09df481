"""NK landscapes over the genes of any space: ruggedness by choice, an exact optimum, optional noise.

Kauffman and Weinberger 1989, https://doi.org/10.1016/S0022-5193(89)80019-0, with adjacent genes: each gene
contributes a random number that depends on itself and on the next K genes. A network's value is that of its
canonical genes, so equal networks have equal values. Seeds 0 to 19 are for development, 100 to 119 to report.
K = 0 is additive: a sanity check, no ground for claims.
"""

import heapq
import math
from functools import cached_property
from itertools import count
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.space import SearchSpace
from nas.strategies.base import rng
from nas.trial import Genes
from search_spaces import fbnet

__all__ = ["Landscape", "benchmark"]

LARGEST_WINDOW = 1 << 22
LARGEST_SEARCH = 200_000
FILLS = 16


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
    ``irrelevant``: the share of genes that contribute nothing. ``max_macs`` is a bound. Default space: FBNet.
    The hypervolume's reference is the landscape's mean.
    """
    space = fbnet.space() if space is None else space
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    domain = Domain(space, costs, [Bound("macs", upper=max_macs)] if max_macs < math.inf else [])
    landscape = Landscape(domain, seed=seed, k=k, irrelevant=irrelevant)

    def observe(genes: Genes) -> tuple[float, ...]:
        name = crc32(bytes(domain.canonical(genes)))
        return (landscape.loss(genes) + noise * float(rng(seed, "noise", name).standard_normal()),)

    best = landscape.least_loss()
    return Problem(
        domain=domain,
        losses=("loss_sd",),
        observe=observe,
        truth=lambda genes: (landscape.loss(genes),),
        best=best,
        ideal=(best,),
        reference=(0.0,),
    )


class Landscape:
    """Contributions are hashes of (seed, gene, window), uniform in 0..1: the same on every machine."""

    def __init__(self, domain: Domain, *, seed: int, k: int, irrelevant: float = 0.0) -> None:
        sizes = domain.space.gene_sizes
        if not 0 <= k < len(sizes) or not 0 <= irrelevant < 1:
            raise UsageError(
                f"an NK landscape takes k from 0 to {len(sizes) - 1} and irrelevant from 0 to below 1, "
                f"not {k} and {irrelevant:g}"
            )
        self.domain, self.seed, self.k = domain, seed, k
        kept = max(1, len(sizes) - round(irrelevant * len(sizes)))
        order = rng(seed, "irrelevant", 0).permutation(len(sizes))
        self.relevant = sorted(order[:kept].tolist())
        self.sizes = [sizes[i] for i in self.relevant]
        self.windows = [range(j, min(j + k + 1, kept)) for j in range(kept)]
        widest = max(math.prod(self.sizes[i] for i in window) for window in self.windows)
        if widest > LARGEST_WINDOW:
            raise UsageError(f"k = {k} has windows of {widest} values on space '{domain.space.name}': take a smaller k")

    def contribution(self, j: int, genes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """genes: (n, genes of window j). Contributions 0..1: (n,)."""
        mixed = np.full(len(genes), (self.seed << 16) + j, np.uint64)
        for column in np.asarray(genes, np.uint64).T:
            mixed = _mix(mixed ^ (column + np.uint64(1)))
        return np.asarray((_mix(mixed) >> np.uint64(11)).astype(np.float64) / (1 << 53))

    def _scaled(self, total: float) -> float:
        """A sum of contributions as a loss in standard deviations."""
        n = len(self.sizes)
        return (n / 2 - total) / math.sqrt(n / 12)

    def loss(self, genes: Genes) -> float:
        """Minus the value of a network, in standard deviations."""
        canonical = self.domain.canonical(genes)
        kept = tuple(canonical[i] for i in self.relevant)
        return self._scaled(
            sum(float(t[kept[w.start : w.stop]]) for t, w in zip(self._tables, self.windows, strict=True))
        )

    @cached_property
    def _tables(self) -> list[NDArray[np.float64]]:
        """Contributions of each gene by its window: one axis per gene of the window."""
        tables = []
        for j, window in enumerate(self.windows):
            shape = [self.sizes[i] for i in window]
            tables.append(self.contribution(j, np.indices(shape).reshape(len(shape), -1).T).reshape(shape))
        return tables

    @cached_property
    def _bounds(self) -> list[NDArray[np.float64]]:
        """Most that the contributions from gene j on can add, given genes j to j + k - 1 (dynamic programming)."""
        bounds: list[NDArray[np.float64]] = [np.zeros(())]
        for table in reversed(self._tables):
            total = table + bounds[-1]
            bounds.append(total.max(axis=-1) if table.ndim == self.k + 1 else total)
        return bounds[::-1]

    def least_loss(self) -> float:
        """The exact optimum: gene strings by best-first search under exact bounds, until one is a network inside.

        With irrelevant genes, a string counts if one of `FILLS` fillings reaches it.
        """
        ticket, fill = count(), rng(self.seed, "fill", 0)
        todo: list[tuple[float, int, float, Genes]] = [(0.0, next(ticket), 0.0, ())]
        for _ in range(LARGEST_SEARCH):
            bound, _, done, prefix = heapq.heappop(todo)
            if len(prefix) == len(self.sizes):
                if self._is_reached(prefix, self._scaled(-bound), fill):
                    return self._scaled(-bound)
                continue
            for option in range(self.sizes[len(prefix)]):
                genes = (*prefix, option)
                first, doubles = self._doubles.get(len(genes), (0, ()))
                if genes[first:] in doubles:
                    continue
                start = max(len(genes) - self.k, 0)
                closed = len(genes) - 1 - self.k
                now = done + float(self._tables[closed][genes[closed:]]) if closed >= 0 else done
                rest = self._bounds[start][genes[start:]] if start < len(self.sizes) else 0.0
                heapq.heappush(todo, (-(now + float(np.max(rest))), next(ticket), now, genes))
        raise UsageError(
            f"the optimum of this NK landscape inside {self.domain.bounds_text} was not found among its "
            f"{LARGEST_SEARCH} best prefixes: take a looser bound or a smaller k"
        )

    @cached_property
    def _doubles(self) -> dict[int, tuple[int, set[Genes]]]:
        """By the number of genes up to a slot's end: its first gene, and genes of it that no canonical string has.

        They make the same layers as earlier ones, whatever the slot is handed. Without this the search loses
        itself in spaces that say most things twice.
        """
        found: dict[int, tuple[int, set[Genes]]] = {}
        if len(self.relevant) == len(self.domain.space.gene_sizes):
            for slot, (step, radix) in enumerate(zip(self.domain.space.chain, self.domain.space.radix, strict=True)):
                seen, doubles = set(), set()
                for option, words in enumerate(zip(*step.words, strict=True)):
                    if words in seen:
                        doubles.add(self.domain.space.slot_genes(slot, option))
                    seen.add(words)
                if doubles:
                    found[radix[1]] = (radix[0], doubles)
        return found

    def _is_reached(self, relevant: Genes, loss: float, fill: np.random.Generator) -> bool:
        sizes = self.domain.space.gene_sizes
        every = len(relevant) == len(sizes)
        for genes in fill.integers(np.array(sizes), size=(1 if every else FILLS, len(sizes))):
            genes[self.relevant] = relevant
            filled = tuple(genes.tolist())
            if self.domain.contains(filled) and math.isclose(self.loss(filled), loss, abs_tol=1e-9):
                return True
        return False


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
