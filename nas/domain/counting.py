"""Completions of every prefix that stay inside one additive bound, counted in integer ticks.

A tick is a 2^17th of the range up to the bound; of a cost in whole numbers, a multiple of their
common divisor. Each option's cost is rounded to the nearest tick, so a sum of ticks is off by what
the slots' rounding adds at least and at most. Counted is the band with these added outside, which
holds every network of the band and a few beside it, or the band with these taken off, which holds
networks of the band alone. In whole numbers of up to 2^17 divisors nothing is rounded: both are the
band.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.domain.bound import Bound
from nas.errors import SpaceError
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["COARSE_TICKS", "TICKS", "Band", "Counts", "Masks", "Ticks", "everything_allowed"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Masks = list[NDArray[np.bool_]]
"""Per slot, (states, options): whether the option may be taken there."""
Side = Literal["outer", "inner"]
"""Whether what is counted holds the whole band, or nothing outside it."""

TICKS = 1 << 17
"""Ticks of a range. A table of completions has one column for each."""
COARSE_TICKS = 1 << 12
"""Enough where only shares are asked for, and counted in a fraction of a second."""
FINEST = 1e-6
"""Least range that is cut into ticks, as a share of the largest cost: finer is a float's dust."""
DUST = 1e-3
"""Ticks that sums of floats may be off."""


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
    largest: float
    """The sum of each slot's largest value."""

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
            largest=largest,
        )

    @classmethod
    def everything(cls, costs: Compiled) -> "Band":
        """A band that holds every network: what the masks leave is counted."""
        values = [np.zeros(table.shape[:2]) for table in costs.values]
        return cls(values=values, floor=0.0, lower=0.0, upper=0.0, largest=0.0)


class Ticks:
    """A band's costs in ticks."""

    def __init__(self, space: SearchSpace, band: Band, allowed: Masks, most_ticks: int) -> None:
        self.space = space
        self.band = band
        self.allowed = allowed
        divisor = _divisor(band.values)
        self.tick = _tick(band, divisor, most_ticks)
        """The cost of one."""
        # What is above the bound by itself is never taken, and its ticks might overflow.
        above = math.ceil(band.upper / self.tick) + len(band.values) + 1
        exact = [np.minimum(table / self.tick, above) for table in band.values]
        self.ticks = [np.rint(table).astype(np.int64) for table in exact]
        """Per slot, (states, options)."""
        added = [ticks - table for ticks, table in zip(self.ticks, exact, strict=True)]
        self.least_added = sum(float(table.min()) for table in added)
        """Ticks that rounding adds to a network at least; mostly negative."""
        self.most_added = sum(float(table.max()) for table in added)
        self.mean_added = sum(float(table.mean()) for table in added)
        self.is_exact = divisor is not None and self.least_added == self.most_added == 0

    def ends(self, side: Side) -> tuple[int, int]:
        """The band's first and last sum of ticks; the last comes before the first if it is empty.

        ``outer``: the costs of all its networks are among them. ``inner``: these sums are of
        networks inside alone.
        """
        band = self.band
        least, most, dust = self.least_added, self.most_added, DUST
        if side == "inner":
            least, most, dust = most, least, -dust
        if self.is_exact:
            dust = 0.0
        first = 0
        if band.lower > 0:
            first = max(0, math.ceil(band.lower / self.tick + least - dust))
        # Where nothing is too costly, rounding must not push the costliest out.
        last = sum(int(ticks.max()) for ticks in self.ticks)
        if band.upper < band.largest:
            last = min(last, math.floor(band.upper / self.tick + most + dust))
        return first, max(last, -1)

    def moves(self, slot: int, last: int) -> Iterator[tuple[int, int, int, int]]:
        """State, successor, ticks up to ``last`` and number of options that have these in common.

        Options that lead alike are counted together: a slot has few kinds.
        """
        step = self.space.chain[slot]
        for state in range(len(step.states)):
            options = np.stack([step.next[state], self.ticks[slot][state]])
            options = options[:, self.allowed[slot][state]]
            kinds, counts = np.unique(options, axis=1, return_counts=True)
            for successor, used, count in zip(*kinds.tolist(), counts.tolist(), strict=True):
                if used <= last:
                    yield state, successor, used, count

    def up_to(self) -> Floats:
        """Gene tuples of at most so many ticks: (last tick + 1,)."""
        last = self.ends("outer")[1]
        # By state and ticks used, from the first slot on.
        reached = np.zeros((1, last + 1))
        reached[0, 0] = 1
        for slot, step in enumerate(self.space.chain):
            after = np.zeros((int(step.next.max()) + 1, last + 1))
            for state, successor, used, count in self.moves(slot, last):
                after[successor, used:] += count * reached[state, : last + 1 - used]
            reached = after
        return np.asarray(reached.sum(axis=0).cumsum())


class Counts:
    """Completions inside a band, by slot, state and ticks used."""

    def __init__(self, ticks: Ticks, side: Side) -> None:
        self.space = ticks.space
        self.allowed = ticks.allowed
        self.ticks = ticks.ticks
        self.is_exact = ticks.is_exact
        """Whether nothing was rounded: what is counted is the band."""
        first, last = ticks.ends(side)
        # An empty band has a column too, of zeros.
        self.upper = max(last, 0)
        self.tables = self._tables(ticks, first, last)
        start = np.zeros(1, np.int64)
        self.total = float(self._inside(0, start, start)[0])
        """Gene tuples counted."""

    def _tables(self, ticks: Ticks, first: int, last: int) -> list[Floats]:
        """Per slot, (states, ticks + 1). Completions that end in the band, by ticks used before."""
        chain = self.space.chain
        # As floats: FBNet's space has 9^22 gene tuples, more than 64-bit integers can count.
        # The band itself is counted. As a difference of two counts it would vanish beside 1e21.
        after = np.zeros((int(chain[-1].next.max()) + 1, self.upper + 1))
        after[:, first : last + 1] = 1
        tables = [after]
        for slot in reversed(range(len(chain))):
            table = np.zeros((len(chain[slot].states), self.upper + 1))
            for state, successor, used, count in ticks.moves(slot, self.upper):
                table[state, : self.upper + 1 - used] += count * tables[-1][successor, used:]
            tables.append(table)
        return tables[::-1]

    def _inside(self, slot: int, state: Integers, used: Integers) -> Floats:
        """state, used: of one shape. Completions that end in the band, begun before a slot.

        Returns an array of that shape.
        """
        completions = self.tables[slot][state, np.minimum(used, self.upper)]
        return np.where(used <= self.upper, completions, 0)

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


def _tick(band: Band, divisor: float | None, most_ticks: int) -> float:
    if divisor is not None:
        return divisor * max(1, math.ceil(band.upper / divisor / most_ticks))
    return max(band.upper, FINEST * (abs(band.floor) + band.largest)) / most_ticks


def _divisor(values: Sequence[Floats]) -> float | None:
    """The greatest that all values share, if they are whole numbers."""
    flat = np.concatenate([table.ravel() for table in values])
    whole = flat.astype(np.int64)
    if (whole != flat).any():
        return None
    return float(np.gcd.reduce(whole) or 1)
