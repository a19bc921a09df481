"""Values of networks that are sums over windows of genes, and the largest of them.

Each of the genes that count contributes a number that depends on itself and on the next few of
them. So the largest sum of all gene strings follows by dynamic programming, and that of the
networks of a space by a beam search whose bounds are exact.
"""

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
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

__all__ = ["Windows", "landscape_problem", "macs_domain", "relevant"]

Floats = NDArray[np.float64]
Moves = dict[Genes, set[int]]
"""States that a slot can hand over, by its relevant genes."""

LARGEST_WINDOW = 1 << 22
"""Numbers in the table of a window: 32 MiB."""
NARROW, BEAM = 8, 1024
"""Strings kept at each length of the search for the optimum."""
LEAVES = 64
"""Whole strings, best first, that are looked at for a network inside the bounds."""
FILLS = 8
"""Random values of the irrelevant genes that each of them is tried with."""
CLIMBS = 4
"""Networks, best first, that are climbed from if no string proves its network the best."""


def relevant(genes: int, irrelevant: float, seed: int) -> list[int]:
    """Places of the genes that count, of so many, if a share of them drawn at random does not."""
    kept = max(1, genes - round(irrelevant * genes))
    order = rng(seed, "irrelevant", 0).permutation(genes)
    return sorted(order[:kept].tolist())


def macs_domain(space: SearchSpace, max_macs: float) -> Domain:
    """A space priced in macs, with a bound on them unless it is infinite."""
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    bounds = [Bound("macs", upper=max_macs)] if max_macs < math.inf else []
    return Domain(space, costs, bounds)


class Windows(ABC):
    """A landscape over the networks of a domain. Those of equal canonical genes are one.

    ``relevant``: places of the genes that count; a window is one of them and the next ``k``.
    ``seed`` is that of the search for the optimum. Raises `UsageError` if a window is too large.
    """

    def __init__(self, domain: Domain, relevant: Sequence[int], k: int, seed: int) -> None:
        self.domain, self.relevant, self.k, self.seed = domain, list(relevant), k, seed
        kept = len(self.relevant)
        self.sizes = [domain.space.gene_sizes[i] for i in self.relevant]
        self.windows = [range(j, min(j + k + 1, kept)) for j in range(kept)]
        # A bound must know all genes of a slot, to tell whether they are canonical together.
        self.reach = max(k, self._most_in_a_slot() - 1)
        widest = max(math.prod(self.sizes[j : j + self.reach + 1]) for j in range(kept))
        if widest > LARGEST_WINDOW:
            raise UsageError(
                f"k = {k} has windows of {widest} values on space '{domain.space.name}': "
                "take a smaller k"
            )
        self.tables = [self.table(j) for j in range(kept)]

    @abstractmethod
    def table(self, j: int) -> Floats:
        """Contributions of relevant gene j by its window: one axis per gene of the window."""

    @abstractmethod
    def loss(self, genes: Genes) -> float:
        """Minus the value of a network, in standard deviations over uniform genes; mean 0."""

    @abstractmethod
    def least_loss(self) -> float:
        """The least loss of a network inside."""

    def _most_in_a_slot(self) -> int:
        """The largest number of relevant genes in one slot."""
        most = 0
        for start, end, _ in self.domain.space.radix:
            most = max(most, sum(start <= i < end for i in self.relevant))
        return most

    def value(self, genes: Genes) -> float:
        """The sum of contributions to a network."""
        canonical = self.domain.canonical(genes)
        kept = tuple(canonical[i] for i in self.relevant)
        total = 0.0
        for table, window in zip(self.tables, self.windows, strict=True):
            total += float(table[kept[window.start : window.stop]])
        return total

    @cached_property
    def _bounds(self) -> list[NDArray[np.float64]]:
        """Most that contributions from gene j on can add, given genes j to j + reach - 1.

        By dynamic programming. Minus infinity where a slot's genes are in no canonical string,
        whatever the slot is handed.
        """
        dead = self._dead
        bounds: list[NDArray[np.float64]] = [np.zeros(())]
        for j in reversed(range(len(self.tables))):
            table = self.tables[j]
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

    def most(self) -> float:
        """The largest value of a network inside, as far as a beam under exact bounds finds it.

        The best gene string that is canonical and inside is the answer. If none of the first is,
        the networks that they spell are climbed from.
        """
        narrow = self._inside(self._beam(NARROW))
        # What all gene strings together cannot exceed: then no wider beam finds more.
        if narrow and max(narrow)[0] >= float(np.max(self._bounds[0])) - 1e-9:
            return max(narrow)[0]
        strings = self._beam(BEAM)
        starts = self._inside(strings)
        if starts and max(starts)[0] >= strings[:LEAVES][-1][1] - 1e-9:
            return max(starts)[0]
        if not starts:
            starts = self._with_values(self.domain.sample_many(LEAVES, rng(self.seed, "climb", 0)))
        return max(self._climb(*start) for start in sorted(starts, reverse=True)[:CLIMBS])

    def _inside(self, strings: Sequence[tuple[Genes, float]]) -> list[tuple[float, Genes]]:
        """Values and genes of networks inside the bounds that the first of the strings spell."""
        sizes = np.array(self.domain.space.gene_sizes)
        fills = FILLS if len(self.relevant) < len(sizes) else 1
        filled = rng(self.seed, "fill", 0).integers(sizes, size=(fills, len(sizes)))
        starts: list[tuple[float, Genes]] = []
        for relevant, bound in strings[:LEAVES]:
            filled[:, self.relevant] = relevant
            starts += self._with_values(filled[self.domain.inside(filled)])
            # Sums of the same numbers in another order differ in their last digits.
            if starts and max(starts)[0] >= bound - 1e-9:
                break  # no later string promises more
        return starts

    def _with_values(self, networks: NDArray[np.int64]) -> list[tuple[float, Genes]]:
        """networks: (n, number of choices). Value and genes of each."""
        return [(self.value(genes), genes) for genes in map(tuple, networks.tolist())]

    def _beam(self, width: int) -> list[tuple[Genes, float]]:
        """Strings of relevant genes with their values, best first: the last beam."""
        beam = [_Node(0.0, 0.0, Genes(), self._states((), frozenset([0])))]
        for length, size in enumerate(self.sizes, 1):
            grown = []
            for node, option in product(beam, range(size)):
                genes = (*node.genes, option)
                states = self._states(genes, node.states)
                if states:
                    grown.append(self._grown(node, genes, states, length))
            beam = heapq.nlargest(width, grown, key=lambda node: node.most)
        return [(node.genes, node.most) for node in beam]

    def _grown(self, node: "_Node", genes: Genes, states: frozenset[int], length: int) -> "_Node":
        """The node one gene longer: ``genes``, so many."""
        start = max(length - self.reach, 0)
        closed = length - 1 - self.reach
        total = node.total
        if closed >= 0:
            total += float(self.tables[closed][genes[closed : closed + self.k + 1]])
        rest = 0.0
        if start < len(self.sizes):
            rest = float(np.max(self._bounds[start][genes[start:]]))
        return _Node(total + rest, total, genes, states)

    def _climb(self, value: float, genes: Genes) -> float:
        """The value of the summit above a network."""
        while True:
            near = self._with_values(self.domain.neighbours(genes))
            best, other = max(near, default=(value, genes))
            if best <= value:
                return value
            value, genes = best, other

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


def landscape_problem(landscape: Windows, noise: float) -> Problem:
    """What a search meets: losses with noise of so many standard deviations, fixed per network."""
    domain = landscape.domain

    def observe(genes: Genes) -> tuple[float, ...]:
        name = crc32(bytes(domain.canonical(genes)))
        drawn = float(rng(landscape.seed, "noise", name).standard_normal())
        return (landscape.loss(genes) + noise * drawn,)

    best = landscape.least_loss()
    return Problem(
        domain=domain,
        losses=("loss_sd",),
        observe=observe,
        truth=lambda genes: (landscape.loss(genes),),
        best=best,
        ideal=(best,),
        # The landscape's mean.
        reference=(0.0,),
    )


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
