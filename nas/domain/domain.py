"""`Domain`: what a strategy asks of a space under bounds."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.domain.bound import Bound
from nas.domain.counting import COARSE_TICKS, Band, Counts, Masks, Ticks, everything_allowed
from nas.domain.sampling import Sampler
from nas.domain.several import one_gene_apart
from nas.errors import BoundError
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["Domain"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DRAWS_VERSION = 2
"""1 counted in ticks of 1 µs, and took sweeps from one network under several bounds."""
ROUNDING = 1e-12
"""Share of a bound that sums of floats may be off."""
DIGITS = 4
CROSSOVER_MIXES = 64
"""Priced at once, which takes little longer than pricing one."""


def _readable(value: float, towards: Callable[[float], int]) -> str:
    """Four digits, rounded towards what can be reached, so that it may be typed back.

    A whole number stays as it is.
    """
    if value == int(value):
        return str(int(value))
    # Rounded to the nearest, the figure told might lie just beyond what the space reaches.
    scale = 10.0 ** (DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{towards(value * scale) / scale:.10g}"


class Domain:
    """A search space, its compiled costs, and bounds on them.

    Raises `BoundError` at once, with the reachable range, if no network meets a bound.
    """

    def __init__(self, space: SearchSpace, costs: Compiled, bounds: Sequence[Bound] = ()) -> None:
        self.space = space
        self.compiled = costs
        self.bounds = tuple(bounds)
        for bound in self.bounds:
            self._check_reachable(bound)
        self._sampler = Sampler(costs, self.bounds, self._allowed(), self.inside)
        self._spreads: dict[str, tuple[Ticks, Floats]] = {}

    @property
    def bounds_text(self) -> str:
        """The bounds in one phrase."""
        return " and ".join(map(str, self.bounds)) or "no bounds"

    def _check_reachable(self, bound: Bound) -> None:
        low, _ = self.compiled.extreme(bound.metric)
        high, _ = self.compiled.extreme(bound.metric, largest=True)
        if low <= bound.upper and bound.lower <= high:
            return
        least = _readable(low, math.ceil)
        most = _readable(high, math.floor)
        nearest = least if bound.upper < low else most
        raise BoundError(
            f"no network of space '{self.space.name}' meets {bound}: it reaches {least} to {most}. "
            f"Try {bound.metric} of {nearest}"
        )

    def _allowed(self) -> Masks:
        """Options that do not break a bound on a maximum by themselves."""
        allowed = everything_allowed(self.compiled)
        for bound in self.bounds:
            column = self.compiled.column(bound.metric)
            if self.compiled.maxima[column]:
                for mask, values in zip(allowed, self.compiled.values, strict=True):
                    mask &= values[:, :, column] <= bound.upper
        return allowed

    # -- how costs are spread over the space ------------------------------------------------------

    @property
    def share(self) -> float | None:
        """Share of all gene tuples that are inside the bounds, 0..1.

        Counted where whole numbers are bounded once, else estimated from draws. None where draws
        under the tightest bound that adds up are hardly ever inside the others.
        """
        return self._sampler.share if self.bounds else 1.0

    @property
    def draws_version(self) -> int:
        """Which generation of `sample` it is: from one to the next, a seed draws other networks."""
        return DRAWS_VERSION if self.bounds else 1

    def quantiles(self, metric: str, shares: Sequence[float]) -> list[float]:
        """Figures of an additive cost that these shares of all gene tuples do not pass.

        Bounds are left aside. Counted in ticks of a 4,096th of the range or finer, and exact to
        about one of them.
        """
        ticks, up_to = self._spread(metric)
        places = np.searchsorted(up_to, np.array(shares) * up_to[-1])
        # What rounding to ticks adds in the mean is taken off again.
        floor = ticks.band.floor
        return [float(floor + (place - ticks.mean_added) * ticks.tick) for place in places]

    def share_within(self, metric: str, upper: float) -> float:
        """Share of all gene tuples whose additive cost is at most ``upper``, 0..1.

        As exact as `quantiles`, in a fraction of a second.
        """
        ticks, up_to = self._spread(metric)
        place = round((upper - ticks.band.floor) / ticks.tick + ticks.mean_added)
        if place < 0:
            return 0.0
        return float(up_to[min(place, len(up_to) - 1)] / up_to[-1])

    def _spread(self, metric: str) -> tuple[Ticks, Floats]:
        """A cost in few ticks, and how many of all gene tuples have at most so many."""
        if metric not in self._spreads:
            largest, _ = self.compiled.extreme(metric, largest=True)
            band = Band.of(self.compiled, Bound(metric, largest))
            ticks = Ticks(self.space, band, everything_allowed(self.compiled), COARSE_TICKS)
            self._spreads[metric] = ticks, ticks.up_to()
        return self._spreads[metric]

    # -- what a strategy asks ---------------------------------------------------------------------

    def inside(self, genes: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """genes: (n, number of choices). Whether each network meets all bounds, (n,)."""
        keep = np.ones(len(genes), bool)
        if self.bounds:
            costs = self.compiled.price(genes)
            for bound in self.bounds:
                column = costs[:, self.compiled.column(bound.metric)]
                # A sum of floats depends on its order: at a bound that is a network's own cost,
                # the network must not fall to the last bit.
                lower = bound.lower - ROUNDING * abs(bound.lower)
                upper = bound.upper + ROUNDING * abs(bound.upper)
                keep &= (column >= lower) & (column <= upper)
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

    def sample_many(self, count: int, rng: np.random.Generator) -> Integers:
        """``count`` networks, (count, number of choices), drawn as by `sample`."""
        if self.bounds:
            return self._sampler.draw(count, rng)
        columns = [rng.integers(size, size=count) for size in self.space.gene_sizes]
        return np.stack(columns, axis=1)

    @cached_property
    def _inner(self) -> Counts:
        """What is surely inside the tightest bound that adds up, and under all maxima."""
        counts = Counts(self._sampler.ticks, "inner")
        if not counts.total:
            raise BoundError(
                f"{self.bounds_text}: a band narrower than what rounding to ticks of "
                f"{self._sampler.ticks.tick:.2g} adds holds no network for sure. Widen it, or take "
                "a strategy that draws whole networks, such as gp"
            )
        return counts

    def completions(self, prefix: Genes) -> Floats:
        """By option of the gene after the prefix, how many networks inside begin so: (options,).

        Under several bounds that add up, by the tightest of them and by all maxima. Networks within
        a few ticks of a border are left out, see `nas.domain.counting`. Raises `SpaceError` if the
        prefix holds all genes, and `BoundError` if a band is so narrow that none is left.
        """
        return self._inner.completions(prefix)

    def completions_along(self, genes: Integers) -> list[Floats]:
        """genes: (n, number of choices). `completions` of every prefix: per gene, (n, options)."""
        return self._inner.completions_along(genes)

    def neighbours(self, genes: Genes) -> Integers:
        """Every network inside that differs in one gene: (n, number of choices), in gene order."""
        near = one_gene_apart(genes, self.space.gene_sizes)
        return near[self.inside(near)]

    def crossover(self, first: Genes, second: Genes, rng: np.random.Generator) -> Genes:
        """A child inside the bounds: each slot comes from either parent.

        ``first`` itself, if none of 64 mixes is inside.
        """
        slots = self.space.slots
        # By slot, not by gene: a slot's genes describe one part of the network together.
        mask = rng.random((CROSSOVER_MIXES, len(slots))) < 0.5
        slot_of_gene = np.repeat(np.arange(len(slots)), [len(slot.choices) for slot in slots])
        children = np.where(mask[:, slot_of_gene], np.array(first), np.array(second))
        fits = np.flatnonzero(self.inside(children))
        return tuple(map(int, children[fits[0]])) if len(fits) else first

    @cached_property
    def _feature_maps(self) -> list[Floats]:
        """Per gene, (options, its columns among the features)."""
        maps = []
        for choice in self.space.choices:
            if choice.ordinal and len(choice) > 1:
                maps.append(np.linspace(0, 1, len(choice))[:, None])
            else:
                # Two corners of the unit simplex lie the root of 2 apart.
                maps.append(np.eye(len(choice)) / math.sqrt(2))
        return maps

    def features(self, genes: NDArray[np.integer[Any]]) -> Floats:
        """genes: (n, number of choices). Points that a distance makes sense of: (n, d).

        An ordinal gene is one column, 0..1. Any other is one-hot, two options at distance 1.
        """
        genes = np.asarray(genes)
        columns = [options[genes[:, i]] for i, options in enumerate(self._feature_maps)]
        return np.concatenate(columns, axis=1)
