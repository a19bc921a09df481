"""NK landscapes over the genes of any space: ruggedness by choice, a known optimum, optional noise.

Kauffman and Weinberger 1989, https://doi.org/10.1016/S0022-5193(89)80019-0, with adjacent genes:
each gene contributes a random number that depends on itself and on the next K genes. A network's
value is that of its canonical genes, so equal networks have equal values. Seeds 0 to 19 are for
development, 100 to 119 to report. K = 0 is additive: a sanity check, no ground for claims.
"""

import heapq
import math
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.cost.compiled import compile_costs
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.space import SearchSpace
from nas.statistics import rng
from nas.trial import Genes
from search_spaces import fbnet

__all__ = ["Landscape", "benchmark"]

LARGEST_WINDOW = 1 << 22
BEAM = 1024
LEAVES = 64
FILLS = 8
CLIMBS = 4


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
        in_slot = max(
            sum(start <= i < end for i in self.relevant) for start, end, _ in domain.space.radix
        )
        self.reach = max(k, in_slot - 1)
        widest = max(math.prod(self.sizes[j : j + self.reach + 1]) for j in range(kept))
        if widest > LARGEST_WINDOW:
            raise UsageError(
                f"k = {k} has windows of {widest} values on space '{domain.space.name}': take a smaller k"
            )

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
            sum(
                float(t[kept[w.start : w.stop]])
                for t, w in zip(self._tables, self.windows, strict=True)
            )
        )

    @cached_property
    def _tables(self) -> list[NDArray[np.float64]]:
        """Contributions of each gene by its window: one axis per gene of the window."""
        tables = []
        for j, window in enumerate(self.windows):
            shape = [self.sizes[i] for i in window]
            tables.append(
                self.contribution(j, np.indices(shape).reshape(len(shape), -1).T).reshape(shape)
            )
        return tables

    @cached_property
    def _bounds(self) -> list[NDArray[np.float64]]:
        """Most that contributions from gene j on can add, given genes j to j + reach - 1 (dynamic programming).

        Minus infinity where a slot's genes are in no canonical string, whatever the slot is handed.
        """
        dead = {}
        for slots in self._slots.values():
            for first, moves in slots:
                known = np.array(sorted({genes for move in moves for genes in move})).T
                if len(known):
                    dead[first] = np.ones(self.sizes[first : first + len(known)], bool)
                    dead[first][tuple(known)] = False
        bounds: list[NDArray[np.float64]] = [np.zeros(())]
        for j, table in reversed(list(enumerate(self._tables))):
            total = _widen(table, bounds[-1].ndim + 1) + bounds[-1]
            if j in dead:
                total = np.where(_widen(dead[j], total.ndim), -math.inf, total)
            bounds.append(total.max(axis=-1) if total.ndim == self.reach + 1 else total)
        return bounds[::-1]

    def least_loss(self) -> float:
        """The least loss of a network inside the domain, as far as a beam search under exact bounds finds it.

        The best gene string that is canonical and inside is the answer. Where none of the first is,
        the networks that they spell are climbed from.
        """
        sizes = np.array(self.domain.space.gene_sizes)
        fills = FILLS if len(self.relevant) < len(sizes) else 1
        filled = rng(self.seed, "fill", 0).integers(sizes, size=(fills, len(sizes)))
        found: list[tuple[float, Genes]] = []
        for relevant, bound in self._beam()[:LEAVES]:
            filled[:, self.relevant] = relevant
            found += [
                (self.loss(genes), genes)
                for genes in map(tuple, filled[self.domain.inside(filled)].tolist())
            ]
            if found and min(found)[0] <= bound + 1e-9:
                return min(found)[0]
        if not found:
            drawn = map(tuple, self.domain.sample_many(LEAVES, rng(self.seed, "climb", 0)).tolist())
            found = [(self.loss(genes), genes) for genes in drawn]
        return min(self._climb(*start) for start in sorted(found)[:CLIMBS])

    def _beam(self) -> list[tuple[Genes, float]]:
        """Strings of relevant genes with their losses, best first: the last beam."""
        beam = [(0.0, 0.0, Genes(), self._states((), frozenset([0])))]
        for length, size in enumerate(self.sizes, 1):
            start, closed = max(length - self.reach, 0), length - 1 - self.reach
            rest = self._bounds[start]
            grown = []
            for _, done, prefix, states in beam:
                for genes in ((*prefix, option) for option in range(size)):
                    after = self._states(genes, states)
                    if after:
                        window = genes[closed : closed + self.k + 1]
                        now = done + float(self._tables[closed][window]) if closed >= 0 else done
                        most = now + float(
                            np.max(rest[genes[start:]] if start < len(self.sizes) else 0.0)
                        )
                        grown.append((most, now, genes, after))
            beam = heapq.nlargest(BEAM, grown, key=lambda node: node[0])
        return [(genes, self._scaled(most)) for most, _, genes, _ in beam]

    def _climb(self, loss: float, genes: Genes) -> float:
        """The loss of the summit above a network."""
        while True:
            near = [
                (self.loss(other), other)
                for other in map(tuple, self.domain.neighbours(genes).tolist())
            ]
            best, other = min(near, default=(loss, genes))
            if best >= loss:
                return loss
            loss, genes = best, other

    def _states(self, prefix: Genes, states: frozenset[int]) -> frozenset[int]:
        """What the slots that end with the prefix can hand over; empty if no canonical genes begin so.

        An option whose layers a lesser one makes from the same input is in no canonical genes.
        Without this the search loses itself in spaces that say most things twice.
        """
        for first, moves in self._slots.get(len(prefix), ()):
            states = frozenset().union(*(moves[state].get(prefix[first:], ()) for state in states))
        return states

    @cached_property
    def _slots(self) -> dict[int, list[tuple[int, list[dict[Genes, set[int]]]]]]:
        """By the number of relevant genes up to a slot's end: its first, and per state what its genes lead to."""
        found: dict[int, list[tuple[int, list[dict[Genes, set[int]]]]]] = {}
        space = self.domain.space
        for slot, (step, (start, end, _)) in enumerate(zip(space.chain, space.radix, strict=True)):
            inside = [i - start for i in self.relevant if start <= i < end]
            moves: list[dict[Genes, set[int]]] = []
            for words, after in zip(step.words, step.next.tolist(), strict=True):
                least = {word: option for option, word in reversed(list(enumerate(words)))}
                moves.append({})
                for option in least.values():
                    genes = space.slot_genes(slot, option)
                    moves[-1].setdefault(tuple(genes[i] for i in inside), set()).add(after[option])
            first = sum(i < start for i in self.relevant)
            found.setdefault(first + len(inside), []).append((first, moves))
        return found


def _widen(table: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """The table with axes of length 1 behind."""
    return table.reshape(table.shape + (1,) * (dimensions - table.ndim))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
