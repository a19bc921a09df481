"""NK landscapes over the genes of any space: ruggedness by choice, a known optimum, optional noise.

Kauffman and Weinberger 1989, https://doi.org/10.1016/S0022-5193(89)80019-0, with adjacent genes:
each gene contributes a random number that depends on itself and on the next K genes. A network's
value is that of its canonical genes, so equal networks have equal values. Seeds 0 to 19 are for
development, 100 to 119 to report. K = 0 is additive: a sanity check, no ground for claims.
"""

import heapq
import math
from functools import cached_property
from itertools import chain, product
from typing import Any, NamedTuple
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

Moves = dict[Genes, set[int]]
"""States that a slot can hand over, by its relevant genes."""

LARGEST_WINDOW = 1 << 22
"""Numbers in the table of a window: 32 MiB."""
BEAM = 1024
"""Strings kept at each length of the search for the optimum."""
LEAVES = 64
"""Whole strings, best first, that are looked at for a network inside the bounds."""
FILLS = 8
"""Random values of the irrelevant genes that each of them is tried with."""
CLIMBS = 4
"""Networks, best first, that are climbed from if no string proves its network the best."""


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
    bounds = [Bound("macs", upper=max_macs)] if max_macs < math.inf else []
    domain = Domain(space, costs, bounds)
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
    """Contributions are hashes of (seed, gene, window), 0..1: the same on every machine."""

    def __init__(self, domain: Domain, *, seed: int, k: int, irrelevant: float = 0.0) -> None:
        sizes = domain.space.gene_sizes
        if not 0 <= k < len(sizes) or not 0 <= irrelevant < 1:
            raise UsageError(
                f"an NK landscape takes k from 0 to {len(sizes) - 1} "
                f"and irrelevant from 0 to below 1, not {k} and {irrelevant:g}"
            )
        self.domain, self.seed, self.k = domain, seed, k
        kept = max(1, len(sizes) - round(irrelevant * len(sizes)))
        order = rng(seed, "irrelevant", 0).permutation(len(sizes))
        self.relevant = sorted(order[:kept].tolist())
        self.sizes = [sizes[i] for i in self.relevant]
        self.windows = [range(j, min(j + k + 1, kept)) for j in range(kept)]
        # A bound must know all genes of a slot, to tell whether they are canonical together.
        self.reach = max(k, self._most_in_a_slot() - 1)
        widest = max(math.prod(self.sizes[j : j + self.reach + 1]) for j in range(kept))
        if widest > LARGEST_WINDOW:
            raise UsageError(
                f"k = {k} has windows of {widest} values on space '{domain.space.name}': "
                "take a smaller k"
            )

    def _most_in_a_slot(self) -> int:
        """The largest number of relevant genes in one slot."""
        most = 0
        for start, end, _ in self.domain.space.radix:
            most = max(most, sum(start <= i < end for i in self.relevant))
        return most

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
        canonical = self.domain.canonical(genes)
        kept = tuple(canonical[i] for i in self.relevant)
        total = 0.0
        for table, window in zip(self._tables, self.windows, strict=True):
            total += float(table[kept[window.start : window.stop]])
        return self._scaled(total)

    @cached_property
    def _tables(self) -> list[NDArray[np.float64]]:
        """Contributions of each gene by its window: one axis per gene of the window."""
        tables = []
        for j, window in enumerate(self.windows):
            shape = [self.sizes[i] for i in window]
            every = np.indices(shape).reshape(len(shape), -1).T
            tables.append(self.contribution(j, every).reshape(shape))
        return tables

    @cached_property
    def _bounds(self) -> list[NDArray[np.float64]]:
        """Most that contributions from gene j on can add, given genes j to j + reach - 1.

        By dynamic programming. Minus infinity where a slot's genes are in no canonical string,
        whatever the slot is handed.
        """
        dead = self._dead
        bounds: list[NDArray[np.float64]] = [np.zeros(())]
        for j in reversed(range(len(self._tables))):
            table = self._tables[j]
            total = _widen(table, bounds[-1].ndim + 1) + bounds[-1]
            if j in dead:
                total = np.where(_widen(dead[j], total.ndim), -math.inf, total)
            bounds.append(total.max(axis=-1) if total.ndim == self.reach + 1 else total)
        return bounds[::-1]

    @property
    def _dead(self) -> dict[int, NDArray[np.bool_]]:
        """By the first gene of a slot, which of its genes are in no canonical string."""
        dead = {}
        for first, moves in chain.from_iterable(self._slots.values()):
            alive = np.array(sorted(set().union(*moves))).T
            if len(alive):
                dead[first] = np.ones(self.sizes[first : first + len(alive)], bool)
                dead[first][tuple(alive)] = False
        return dead

    def least_loss(self) -> float:
        """The least loss of a network inside, as far as a beam search under exact bounds finds it.

        The best gene string that is canonical and inside is the answer. If none of the first is,
        the networks that they spell are climbed from.
        """
        sizes = np.array(self.domain.space.gene_sizes)
        fills = FILLS if len(self.relevant) < len(sizes) else 1
        filled = rng(self.seed, "fill", 0).integers(sizes, size=(fills, len(sizes)))
        starts: list[tuple[float, Genes]] = []
        for relevant, bound in self._beam()[:LEAVES]:
            filled[:, self.relevant] = relevant
            starts += self._with_losses(filled[self.domain.inside(filled)])
            # Sums of the same numbers in another order differ in their last digits.
            if starts and min(starts)[0] <= bound + 1e-9:
                return min(starts)[0]  # no later string promises less
        if not starts:
            starts = self._with_losses(self.domain.sample_many(LEAVES, rng(self.seed, "climb", 0)))
        return min(self._climb(*start) for start in sorted(starts)[:CLIMBS])

    def _with_losses(self, networks: NDArray[np.int64]) -> list[tuple[float, Genes]]:
        """networks: (n, number of choices). Loss and genes of each."""
        return [(self.loss(genes), genes) for genes in map(tuple, networks.tolist())]

    def _beam(self) -> list[tuple[Genes, float]]:
        """Strings of relevant genes with their losses, best first: the last beam."""
        beam = [_Node(0.0, 0.0, Genes(), self._states((), frozenset([0])))]
        for length, size in enumerate(self.sizes, 1):
            grown = []
            for node, option in product(beam, range(size)):
                genes = (*node.genes, option)
                states = self._states(genes, node.states)
                if states:
                    grown.append(self._grown(node, genes, states, length))
            beam = heapq.nlargest(BEAM, grown, key=lambda node: node.most)
        return [(node.genes, self._scaled(node.most)) for node in beam]

    def _grown(self, node: "_Node", genes: Genes, states: frozenset[int], length: int) -> "_Node":
        """The node one gene longer: ``genes``, so many."""
        start = max(length - self.reach, 0)
        closed = length - 1 - self.reach
        total = node.total
        if closed >= 0:
            total += float(self._tables[closed][genes[closed : closed + self.k + 1]])
        rest = 0.0
        if start < len(self.sizes):
            rest = float(np.max(self._bounds[start][genes[start:]]))
        return _Node(total + rest, total, genes, states)

    def _climb(self, loss: float, genes: Genes) -> float:
        """The loss of the summit above a network."""
        while True:
            near = self._with_losses(self.domain.neighbours(genes))
            best, other = min(near, default=(loss, genes))
            if best >= loss:
                return loss
            loss, genes = best, other

    def _states(self, prefix: Genes, states: frozenset[int]) -> frozenset[int]:
        """What the slots that end with the prefix can hand over.

        Empty if no canonical genes begin so. An option whose layers a lesser one makes from the
        same input is in no canonical genes.
        Without this the search loses itself in spaces that say most things twice.
        """
        for first, moves in self._slots.get(len(prefix), ()):
            states = frozenset().union(*(moves[state].get(prefix[first:], ()) for state in states))
        return states

    @cached_property
    def _slots(self) -> dict[int, list[tuple[int, list[Moves]]]]:
        """Slots by the number of relevant genes up to their ends.

        Of each its first relevant gene, and per state what its genes lead to.
        """
        by_end: dict[int, list[tuple[int, list[Moves]]]] = {}
        for slot, (start, end, _) in enumerate(self.domain.space.radix):
            first = sum(i < start for i in self.relevant)
            inside = [i - start for i in self.relevant if start <= i < end]
            by_end.setdefault(first + len(inside), []).append((first, self._moves(slot, inside)))
        return by_end

    def _moves(self, slot: int, inside: list[int]) -> list[Moves]:
        """Per state of a slot. ``inside``: places of the relevant genes among the slot's."""
        space = self.domain.space
        step = space.chain[slot]
        by_state = []
        for words, after in zip(step.words, step.next.tolist(), strict=True):
            # Of the options that make the same layers, the least.
            # Reversed, as a dictionary keeps what was put in last.
            least = {word: option for option, word in reversed(list(enumerate(words)))}
            moves: Moves = {}
            for option in least.values():
                genes = space.slot_genes(slot, option)
                relevant = tuple(genes[i] for i in inside)
                moves.setdefault(relevant, set()).add(after[option])
            by_state.append(moves)
        return by_state


class _Node(NamedTuple):
    """A string of relevant genes in the beam."""

    most: float
    """The largest total of contributions that any continuation reaches."""
    total: float
    """Contributions of the windows that are closed."""
    genes: Genes
    states: frozenset[int]
    """What the slots so far can hand over."""


def _widen(table: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """The table with axes of length 1 behind."""
    return table.reshape(table.shape + (1,) * (dimensions - table.ndim))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
