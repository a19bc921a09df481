"""A space under a run's bounds: the ground a strategy works on. Everything it hands out is inside.

Bounds are on additive costs, or on maxima such as peak memory. Under one additive bound or band,
`Domain.sample` is uniform over the feasible gene tuples: they are counted by dynamic programming in
integer ticks, and drawn slot by slot in proportion. Under several it takes sweeps of conditional
draws (Gibbs sampling) from such a start, which is uniform in the limit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.errors import BoundError, SpaceError
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["Bound", "Domain"]

Floats = NDArray[np.float64]

TICKS, COARSE_TICKS = 1 << 17, 1 << 12
GIBBS_SWEEPS = 8


@dataclass(frozen=True)
class Bound:
    """``lower <= metric <= upper``, in the metric's own unit."""

    metric: str
    upper: float = math.inf
    lower: float = -math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.upper) or math.isnan(self.lower) or self.lower > self.upper:
            raise BoundError(
                f"bound on {self.metric}: lower {self.lower:g} must not exceed upper {self.upper:g}"
            )

    def __str__(self) -> str:
        low = f"{self.lower:g} <= " if self.lower > -math.inf else ""
        high = f" <= {self.upper:g}" if self.upper < math.inf else ""
        return f"{low}{self.metric}{high}"


def _figure(value: float, towards: Callable[[float], int]) -> str:
    """Four digits, rounded towards what can be reached, so that it may be typed back; a whole number as it is."""
    if value == int(value):
        return str(int(value))
    scale = 10.0 ** (3 - math.floor(math.log10(abs(value))))
    return f"{towards(value * scale) / scale:.10g}"


class Domain:
    """A search space, its compiled costs, and bounds on them.

    Raises `BoundError` at once, with the reachable range, where no network meets a bound.
    """

    def __init__(self, space: SearchSpace, costs: Compiled, bounds: Sequence[Bound] = ()) -> None:
        self.space = space
        self.compiled = costs
        self.bounds = tuple(bounds)
        for bound in self.bounds:
            self._check_reachable(bound)
        self._additive = [b for b in self.bounds if not costs.maxima[costs.column(b.metric)]]
        self._counts = _Counts(costs, self._additive[0], self._allowed) if self._additive else None
        if self._counts is not None and not self._counts.total:
            raise BoundError(f"no network of space '{space.name}' meets {self.bounds_text}")
        self._coarse_counts: dict[str, _Counts] = {}
        self._start = self._find_start() if len(self._additive) > 1 else None

    @property
    def bounds_text(self) -> str:
        """The bounds in one phrase."""
        return " and ".join(map(str, self.bounds)) or "no bounds"

    def _check_reachable(self, bound: Bound) -> None:
        low, _ = self.compiled.extreme(bound.metric)
        high, _ = self.compiled.extreme(bound.metric, largest=True)
        if bound.upper < low or bound.lower > high:
            least, most = _figure(low, math.ceil), _figure(high, math.floor)
            raise BoundError(
                f"no network of space '{self.space.name}' meets {bound}: it reaches {least} to {most}. "
                f"Try {bound.metric} of {least if bound.upper < low else most}"
            )

    @cached_property
    def _allowed(self) -> list[NDArray[np.bool_]]:
        """Per slot, (states, options): whether a slot alone already breaks a bound on a maximum."""
        allowed = [np.ones(v.shape[:2], bool) for v in self.compiled.values]
        for bound in self.bounds:
            column = self.compiled.column(bound.metric)
            if self.compiled.maxima[column]:
                for mask, values in zip(allowed, self.compiled.values, strict=True):
                    mask &= values[:, :, column] <= bound.upper
        return allowed

    # -- how costs are spread over the space ------------------------------------------------------

    @property
    def share(self) -> float | None:
        """Share of all gene tuples that are inside the bounds, 0..1; None under several additive bounds, which are not counted.

        Networks within a few ticks of a border count as outside, see `_Counts`.
        """
        if not self.bounds:
            return 1.0
        counts = None if len(self._additive) > 1 else self._counts or self._all_allowed
        return None if counts is None else float(counts.total) / self.space.cardinality

    def quantiles(self, metric: str, shares: Sequence[float]) -> list[float]:
        """Figures of an additive cost that these shares of all gene tuples do not pass, bounds left aside.

        Counted over all gene tuples in ticks of a 4,096th of the range or finer; exact to about one
        of them.
        """
        counts = self._coarse(metric)
        cumulated = counts.tables[0][0]
        places = np.searchsorted(cumulated, np.array(shares) * cumulated[-1])
        return [float(counts.floor + (place - counts.rounding) * counts.tick) for place in places]

    def _coarse(self, metric: str) -> "_Counts":
        if metric not in self._coarse_counts:
            high, _ = self.compiled.extreme(metric, largest=True)
            everything = [np.ones(v.shape[:2], bool) for v in self.compiled.values]
            self._coarse_counts[metric] = _Counts(
                self.compiled, Bound(metric, high), everything, most_ticks=COARSE_TICKS
            )
        return self._coarse_counts[metric]

    def share_within(self, metric: str, upper: float) -> float:
        """Share of all gene tuples whose additive cost is at most ``upper``, 0..1; as exact as `quantiles`, in a fraction of a second."""
        counts = self._coarse(metric)
        place = round((upper - counts.floor) / counts.tick + counts.rounding)
        cumulated = counts.tables[0][0]
        return (
            float(cumulated[min(place, len(cumulated) - 1)] / cumulated[-1]) if place >= 0 else 0.0
        )

    # -- what a strategy asks ---------------------------------------------------------------------

    def inside(self, genes: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """genes: (n, number of choices). Whether each network meets all bounds, (n,)."""
        keep = np.ones(len(genes), bool)
        if self.bounds:
            costs = self.compiled.price(genes)
            for bound in self.bounds:
                column = costs[:, self.compiled.column(bound.metric)]
                keep &= (column >= bound.lower) & (column <= bound.upper)
        return keep

    def contains(self, genes: Genes) -> bool:
        """Whether the network meets all bounds."""
        return bool(self.inside(np.array([genes]))[0])

    def costs(self, genes: Genes) -> dict[str, float]:
        """Costs of one network by name."""
        return self.compiled.of(genes)

    def canonical(self, genes: Genes) -> Genes:
        """The least genes that describe the same network."""
        return self.space.canonical(genes)

    def sample(self, rng: np.random.Generator) -> Genes:
        """One network, uniform over gene tuples inside the bounds."""
        return tuple(map(int, self.sample_many(1, rng)[0]))

    def sample_many(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``count`` networks, (count, number of choices), drawn as by `sample`."""
        if self._start is not None:
            return np.array([self._gibbs(self._start, rng) for _ in range(count)])
        if self._counts is not None:
            return self._counts.draw(count, rng)
        if self.bounds:  # only maxima: a band that holds everything counts what they leave
            return self._all_allowed.draw(count, rng)
        sizes = self.space.gene_sizes
        return np.stack([rng.integers(size, size=count) for size in sizes], axis=1)

    @cached_property
    def _all_allowed(self) -> "_Counts":
        return _Counts(self.compiled, None, self._allowed)

    def completions(self, prefix: Genes) -> Floats:
        """prefix: the first genes. How many networks inside begin with it and each option of the next gene, (options,).

        Counted as `sample` does; under several additive bounds by the first of them, and by all
        maxima.
        """
        counts = self._counts or self._all_allowed
        return counts.completions(prefix)

    def completions_along(self, genes: NDArray[np.int64]) -> list[Floats]:
        """genes: (n, number of choices). `completions` of every prefix of each of them: per gene, (n, options)."""
        counts = self._counts or self._all_allowed
        return counts.completions_along(genes)

    def neighbours(self, genes: Genes) -> NDArray[np.int64]:
        """Every network inside the bounds that differs in one gene: (n, number of choices), in gene order."""
        rows = []
        for position, size in enumerate(self.space.gene_sizes):
            for option in range(size):
                if option != genes[position]:
                    rows.append((*genes[:position], option, *genes[position + 1 :]))
        found = np.array(rows, dtype=np.int64).reshape(len(rows), len(genes))
        return found[self.inside(found)]

    def crossover(self, first: Genes, second: Genes, rng: np.random.Generator) -> Genes:
        """A child inside the bounds: each slot from either parent; a parent where no mix of 64 fits."""
        mask = rng.random((64, len(self.space.slots))) < 0.5
        owner = [i for i, slot in enumerate(self.space.slots) for _ in slot.choices]
        children = np.where(mask[:, owner], np.array(first), np.array(second))
        fits = np.flatnonzero(self.inside(children))
        return tuple(map(int, children[fits[0]])) if len(fits) else first

    @cached_property
    def _feature_maps(self) -> list[Floats]:
        maps = []
        for choice in self.space.choices:
            if choice.ordinal and len(choice) > 1:
                maps.append(np.linspace(0, 1, len(choice))[:, None])
            else:
                maps.append(np.eye(len(choice)) / math.sqrt(2))
        return maps

    def features(self, genes: NDArray[np.integer[Any]]) -> Floats:
        """genes: (n, number of choices). One-hot (distance 1 between options) or 0..1 where ordinal: (n, d)."""
        genes = np.asarray(genes)
        return np.concatenate(
            [table[genes[:, i]] for i, table in enumerate(self._feature_maps)], axis=1
        )

    # -- several bounds ---------------------------------------------------------------------------

    def _gibbs(self, start: Genes, rng: np.random.Generator) -> Genes:
        genes = np.array(start)
        for _ in range(GIBBS_SWEEPS):
            for slot in rng.permutation(len(self.space.slots)):
                first, last, _ = self.space.radix[slot]
                if first == last:
                    continue
                tried = np.repeat(genes[None], self.space.slots[slot].options, axis=0)
                tried[:, first:last] = [self.space.slot_genes(slot, o) for o in range(len(tried))]
                genes = rng.choice(tried[self.inside(tried)])
        return tuple(map(int, genes))

    def _find_start(self) -> Genes:
        """A network inside several bounds: the best of draws under the first, then greedy descent on the excess."""
        assert self._counts is not None
        rng = np.random.default_rng(0)
        columns = [self.compiled.column(b.metric) for b in self._additive]

        def excess(genes: NDArray[np.int64]) -> Floats:
            costs = self.compiled.price(genes)[:, columns]
            over = [np.maximum(costs[:, i] / b.upper - 1, 0) for i, b in enumerate(self._additive)]
            under = [
                np.maximum(b.lower - costs[:, i], 0) / max(abs(b.lower), 1e-9)
                for i, b in enumerate(self._additive)
                if b.lower > -math.inf
            ]
            return np.asarray(np.sum(over + under, axis=0))

        drawn = self._counts.draw(4096, rng)
        order = np.argsort(excess(drawn))[:8]
        nearest = math.inf
        for genes in drawn[order]:
            while True:
                now = float(excess(genes[None])[0])
                if now == 0 and self.contains(tuple(map(int, genes))):
                    return tuple(map(int, genes))
                near = Domain(self.space, self.compiled).neighbours(tuple(map(int, genes)))
                scores = excess(near)
                if scores.min() >= now:
                    nearest = min(nearest, now)
                    break
                genes = near[scores.argmin()]
        raise BoundError(
            f"found no network of space '{self.space.name}' that meets {self.bounds_text}; "
            f"the nearest one misses by {100 * nearest:.1f} % in all. Loosen one of them"
        )


class _Counts:
    """How many completions of every prefix stay inside one additive bound, in integer ticks.

    A tick is 1 µs of a latency in ms, or the common divisor of a cost in whole numbers; where the
    range needs more than `TICKS` of them it is a multiple of that. Each option's cost is rounded
    up, and the lower bound by what that rounding may add, so what is drawn is always inside;
    networks within those few ticks of a border are not drawn.
    """

    def __init__(
        self,
        costs: Compiled,
        bound: Bound | None,
        allowed: list[NDArray[np.bool_]],
        *,
        most_ticks: int = TICKS,
    ) -> None:
        self.space = costs.space
        self.allowed = allowed
        column = 0 if bound is None else costs.column(bound.metric)
        if bound is None:
            values = [np.zeros(v.shape[:2]) for v in costs.values]
            lower, upper = 0.0, 0.0
        else:
            values = [v[:, :, column] for v in costs.values]
            floor = [v.min() for v in values]
            values = [v - f for v, f in zip(values, floor, strict=True)]
            most = sum(float(v.max()) for v in values)
            upper = min(bound.upper - sum(floor), most)
            lower = max(bound.lower - sum(floor), 0.0)
        unit = _unit(values)
        self.floor = 0.0 if bound is None else float(sum(floor))
        self.tick = unit * max(1, math.ceil(upper / unit / most_ticks))
        self.ticks = [np.ceil(v / self.tick - 1e-9).astype(np.int64) for v in values]
        self.upper = int(upper / self.tick + 1e-9) + (
            0 if bound and bound.upper < math.inf else len(values)
        )
        self.rounding = sum(
            float((t - v / self.tick).mean()) for t, v in zip(self.ticks, values, strict=True)
        )
        excess = sum(
            float((t - v / self.tick).max()) for t, v in zip(self.ticks, values, strict=True)
        )
        self.lower = math.ceil(lower / self.tick + excess - 1e-6) if lower > 0 else 0
        self.lower = min(
            self.lower, self.upper + 1
        )  # a band narrower than its rounding holds nothing
        self.tables = self._count()
        self.total = self._between(self.tables[0][0], np.zeros(1, np.int64))[0]

    def _count(self) -> list[Floats]:
        """Per slot and state, cumulated over ticks: completions that use at most so many."""
        after = np.ones((int(self.space.chain[-1].next.max()) + 1, self.upper + 1))
        tables = [after]
        for step, ticks, allowed in zip(
            reversed(self.space.chain), reversed(self.ticks), reversed(self.allowed), strict=True
        ):
            now = np.zeros((len(step.states), self.upper + 1))
            for state in range(len(step.states)):
                moves, many = np.unique(
                    np.stack([step.next[state], ticks[state]])[:, allowed[state]],
                    axis=1,
                    return_counts=True,
                )
                for (successor, used), count in zip(moves.T, many, strict=True):
                    if used <= self.upper:
                        now[state, used:] += count * after[successor, : self.upper + 1 - used]
            tables.append(now)
            after = now
        return tables[::-1]

    def _between(self, table: Floats, used: NDArray[np.int64]) -> Floats:
        """Completions that end in the band after so many ticks used."""
        top, bottom = self.upper - used, self.lower - 1 - used
        high = np.where(top >= 0, table[np.maximum(top, 0)], 0)
        low = np.where(bottom >= 0, table[np.maximum(bottom, 0)], 0)
        return np.asarray(high - low)

    def _weights(self, slot: int, state: NDArray[np.int64], used: NDArray[np.int64]) -> Floats:
        """state, used: (n,). Completions by the slot's option: (n, options)."""
        after, spent = self.space.chain[slot].next[state], used[:, None] + self.ticks[slot][state]
        table = self.tables[slot + 1]
        top, bottom = self.upper - spent, self.lower - 1 - spent
        weight = np.where(top >= 0, table[after, np.maximum(top, 0)], 0)
        weight = weight - np.where(bottom >= 0, table[after, np.maximum(bottom, 0)], 0)
        return np.asarray(weight * self.allowed[slot][state])

    def completions(self, prefix: Genes) -> Floats:
        """By option of the gene after the prefix, (options,)."""
        state, used = 0, 0
        for slot, (first, last, _) in enumerate(self.space.radix):
            if last > len(prefix):
                weights = self._weights(slot, np.array([state]), np.array([used]))[0]
                by_gene = weights.reshape(
                    [len(choice) for choice in self.space.slots[slot].choices]
                )
                for gene in prefix[first:]:
                    by_gene = by_gene[gene]
                return np.asarray(by_gene.reshape(len(by_gene), -1).sum(axis=1))
            option = self.space.slot_option(slot, prefix)
            used += int(self.ticks[slot][state, option])
            state = int(self.space.chain[slot].next[state, option])
        raise SpaceError(
            f"a prefix must be shorter than the {len(self.space.choices)} genes of space '{self.space.name}'"
        )

    def completions_along(self, genes: NDArray[np.int64]) -> list[Floats]:
        """genes: (n, number of choices). Per gene, (n, options): `completions` of all the genes before it."""
        state, used = np.zeros(len(genes), np.int64), np.zeros(len(genes), np.int64)
        found, rows = list[Floats](), np.arange(len(genes))
        for slot, option in enumerate(self.space.options(genes)):
            sizes = [len(choice) for choice in self.space.slots[slot].choices]
            left = self._weights(slot, state, used).reshape(len(genes), *sizes)
            first = self.space.radix[slot][0]
            for position, size in enumerate(sizes, first):
                found.append(left.reshape(len(genes), size, -1).sum(axis=2))
                left = left[rows, genes[:, position]]
            used = used + self.ticks[slot][state, option]
            state = self.space.chain[slot].next[state, option]
        return found

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(count, number of choices), uniform over what was counted."""
        genes = np.zeros((count, len(self.space.choices)), np.int64)
        state, used = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for slot, (step, ticks) in enumerate(zip(self.space.chain, self.ticks, strict=True)):
            if step.slot.options > 1:
                sums = self._weights(slot, state, used).cumsum(axis=1)
                option = (sums <= rng.random(count)[:, None] * sums[:, -1:]).sum(axis=1)
            else:
                option = np.zeros(count, np.int64)
            first, last, weights = self.space.radix[slot]
            rest = option
            for position, size in zip(range(first, last), weights, strict=True):
                genes[:, position], rest = np.divmod(rest, size)
            used += ticks[state, option]
            state = step.next[state, option]
        return genes


def _unit(values: list[Floats]) -> float:
    """The divisor that all values share, if they are whole numbers, else a thousandth."""
    flat = np.concatenate([v.ravel() for v in values])
    whole = flat.astype(np.int64)
    return float(np.gcd.reduce(whole) or 1) if (whole == flat).all() else 1e-3
