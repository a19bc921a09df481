"""Completions of every prefix that stay inside one additive bound, counted in integer ticks.

A tick is 1 µs of a latency in ms, or the common divisor of a cost in whole numbers. If the range
needs more than `TICKS` of them, a tick is a multiple of that.

Each option's cost is rounded up, and the lower bound is raised by what that rounding may add. So
what is drawn is always inside, and networks within those few ticks of a border are not drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.domain.bound import Bound
from nas.errors import SpaceError
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["COARSE_TICKS", "TICKS", "Band", "Counts", "Masks", "everything_allowed"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Masks = list[NDArray[np.bool_]]
"""Per slot, (states, options): whether the option may be taken there."""

TICKS = 1 << 17
"""Most ticks of a range. A table of completions has one column for each."""
COARSE_TICKS = 1 << 12
"""Enough where only shares are asked for, and counted in a fraction of a second."""


def everything_allowed(costs: Compiled) -> Masks:
    """Every option in every state."""
    return [np.ones(values.shape[:2], bool) for values in costs.values]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A bound on a cost, told from the floor: the sum of each slot's least value."""

    values: list[Floats]
    """Per slot, (states, options). What an option costs above the least of its slot."""
    floor: float
    lower: float
    upper: float
    capped: bool
    """Whether something is too costly. Otherwise rounding up must not push the costliest out."""

    @classmethod
    def of(cls, costs: Compiled, bound: Bound) -> "Band":
        """The band of a bound on an additive cost."""
        column = costs.column(bound.metric)
        values = [table[:, :, column] for table in costs.values]
        least = [table.min() for table in values]
        values = [table - low for table, low in zip(values, least, strict=True)]
        floor = sum(least)
        largest = sum(float(table.max()) for table in values)
        return cls(
            values=values,
            floor=float(floor),
            lower=max(bound.lower - floor, 0.0),
            upper=min(bound.upper - floor, largest),
            capped=bound.upper < math.inf,
        )

    @classmethod
    def everything(cls, costs: Compiled) -> "Band":
        """A band that holds every network: what the masks leave is counted."""
        values = [np.zeros(table.shape[:2]) for table in costs.values]
        return cls(values=values, floor=0.0, lower=0.0, upper=0.0, capped=False)


class Counts:
    """Completions inside a band, by slot, state and ticks used."""

    def __init__(
        self, space: SearchSpace, band: Band, allowed: Masks, *, most_ticks: int = TICKS
    ) -> None:
        self.space = space
        self.allowed = allowed
        self.floor = band.floor
        unit = _unit(band.values)
        self.tick = unit * max(1, math.ceil(band.upper / unit / most_ticks))
        # Without the 1e-9, a cost that is 3 ticks up to rounding in the last bit would take 4.
        self.ticks = [np.ceil(table / self.tick - 1e-9).astype(np.int64) for table in band.values]
        added = [
            ticks - table / self.tick for ticks, table in zip(self.ticks, band.values, strict=True)
        ]
        self.rounding = sum(float(table.mean()) for table in added)
        """Ticks that rounding up adds to a network, in the mean."""
        self.upper = int(band.upper / self.tick + 1e-9)
        if not band.capped:
            # Rounding up adds less than a tick a slot.
            self.upper += len(band.values)
        self.lower = 0
        if band.lower > 0:
            most_added = sum(float(table.max()) for table in added)
            # Without the 1e-6, a sum that is whole up to rounding would cost one tick more.
            self.lower = math.ceil(band.lower / self.tick + most_added - 1e-6)
        # A band narrower than its rounding holds nothing.
        self.lower = min(self.lower, self.upper + 1)
        self.tables = self._tables()
        start = np.zeros(1, np.int64)
        self.total = self._inside(0, start, start)[0]
        """Gene tuples inside."""

    def _tables(self) -> list[Floats]:
        """Per slot, (states, ticks + 1). Completions that use at most so many ticks."""
        # As floats: FBNet's space has 9^22 gene tuples, more than 64-bit integers can count.
        last_states = int(self.space.chain[-1].next.max()) + 1
        tables = [np.ones((last_states, self.upper + 1))]
        for slot in reversed(range(len(self.space.chain))):
            tables.append(self._table(slot, tables[-1]))
        return tables[::-1]

    def _table(self, slot: int, after: Floats) -> Floats:
        """A slot's table from that of the slot after it."""
        step = self.space.chain[slot]
        table = np.zeros((len(step.states), self.upper + 1))
        for state in range(len(step.states)):
            moves = np.stack([step.next[state], self.ticks[slot][state]])
            moves = moves[:, self.allowed[slot][state]]
            # Options of one successor and one cost are added together: a slot has few kinds.
            kinds, counts = np.unique(moves, axis=1, return_counts=True)
            for (successor, used), count in zip(kinds.T, counts, strict=True):
                if used <= self.upper:
                    table[state, used:] += count * after[successor, : self.upper + 1 - used]
        return table

    def _inside(self, slot: int, state: Integers, used: Integers) -> Floats:
        """state, used: of one shape. Completions that end in the band, begun before a slot.

        Returns an array of that shape.
        """
        table = self.tables[slot]
        # A table counts what uses at most so many ticks: the band is a difference of two counts.
        top = self.upper - used
        bottom = self.lower - 1 - used
        up_to_top = np.where(top >= 0, table[state, np.maximum(top, 0)], 0)
        below_band = np.where(bottom >= 0, table[state, np.maximum(bottom, 0)], 0)
        return np.asarray(up_to_top - below_band)

    def _by_option(self, slot: int, state: Integers, used: Integers) -> Floats:
        """state, used: (n,). Completions by the slot's option: (n, options)."""
        after = self.space.chain[slot].next[state]
        spent = used[:, None] + self.ticks[slot][state]
        return np.asarray(self._inside(slot + 1, after, spent) * self.allowed[slot][state])

    def _gene_sizes(self, slot: int) -> list[int]:
        return [len(choice) for choice in self.space.slots[slot].choices]

    def completions(self, prefix: Genes) -> Floats:
        """By option of the gene after the prefix, (options,).

        Raises `SpaceError` if no gene comes after it.
        """
        if len(prefix) >= len(self.space.choices):
            raise SpaceError(
                f"a prefix must be shorter than the {len(self.space.choices)} genes of space "
                f"'{self.space.name}'"
            )
        slot, state, used = 0, 0, 0
        while self.space.radix[slot].last <= len(prefix):
            option = self.space.slot_option(slot, prefix)
            used += int(self.ticks[slot][state, option])
            state = int(self.space.chain[slot].next[state, option])
            slot += 1
        by_option = self._by_option(slot, np.array([state]), np.array([used]))[0]
        by_gene = by_option.reshape(self._gene_sizes(slot))
        for gene in prefix[self.space.radix[slot].first :]:
            by_gene = by_gene[gene]
        return np.asarray(by_gene.reshape(len(by_gene), -1).sum(axis=1))

    def completions_along(self, genes: Integers) -> list[Floats]:
        """genes: (n, number of choices). Per gene, (n, options): `completions` of all before it."""
        count = len(genes)
        rows = np.arange(count)
        state = np.zeros(count, np.int64)
        used = np.zeros(count, np.int64)
        completions: list[Floats] = []
        for slot, option in enumerate(self.space.options(genes)):
            sizes = self._gene_sizes(slot)
            left = self._by_option(slot, state, used).reshape(count, *sizes)
            for gene, size in enumerate(sizes, self.space.radix[slot].first):
                completions.append(left.reshape(count, size, -1).sum(axis=2))
                left = left[rows, genes[:, gene]]
            used = used + self.ticks[slot][state, option]
            state = self.space.chain[slot].next[state, option]
        return completions

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """(count, number of choices), uniform over what was counted."""
        genes = np.zeros((count, len(self.space.choices)), np.int64)
        state = np.zeros(count, np.int64)
        used = np.zeros(count, np.int64)
        for slot, step in enumerate(self.space.chain):
            option = self._draw_options(slot, state, used, rng)
            first, last, weights = self.space.radix[slot]
            rest = option
            for gene, weight in zip(range(first, last), weights, strict=True):
                genes[:, gene], rest = np.divmod(rest, weight)
            used += self.ticks[slot][state, option]
            state = step.next[state, option]
        return genes

    def _draw_options(
        self, slot: int, state: Integers, used: Integers, rng: np.random.Generator
    ) -> Integers:
        """state, used: (n,). An option of the slot for each, in proportion to its completions."""
        if self.space.slots[slot].options == 1:
            return np.zeros(len(state), np.int64)
        sums = self._by_option(slot, state, used).cumsum(axis=1)
        places = rng.random(len(state))[:, None] * sums[:, -1:]
        return np.asarray((sums <= places).sum(axis=1))


def _unit(values: Sequence[Floats]) -> float:
    """The divisor that all values share, if they are whole numbers, else a thousandth."""
    flat = np.concatenate([table.ravel() for table in values])
    whole = flat.astype(np.int64)
    if (whole != flat).any():
        return 1e-3
    return float(np.gcd.reduce(whole) or 1)
