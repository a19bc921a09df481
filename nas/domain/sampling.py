"""Uniform draws from what meets all bounds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.domain.bound import Bound
from nas.domain.counting import COARSE_TICKS, TICKS, Band, Counts, Masks, Ticks
from nas.domain.several import Inside, descend, excess, sweep
from nas.errors import BoundError

__all__ = ["Sampler"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TRIAL_DRAWS = 4096
LEAST_ACCEPTANCE = 1e-3
"""With fewer draws inside, sweeps are faster than rejection."""
LEAST_TOLD = 1e-2
"""An acceptance that 4,096 draws tell to a sixth of it: one standard error."""
MOST_STARTS = 64
"""Where sweeps mix slowly, draws are no more varied than their starts."""
MOST_AT_ONCE = 1 << 14
"""Draws before those outside are left out."""


class Sampler:
    """Draws from the tightest bound that adds up, of which those inside all bounds are kept.

    The former are uniform, so the latter are. Where hardly any is kept, sweeps from varied networks
    inside are drawn instead, which are uniform in the limit only. Raises `BoundError` if no network
    inside is found.
    """

    def __init__(
        self, costs: Compiled, bounds: Sequence[Bound], masks: Masks, inside: Inside
    ) -> None:
        self.space = costs.space
        self._costs = costs
        self._bounds = bounds
        self._inside = inside
        self._sums = [bound for bound in bounds if not costs.maxima[costs.column(bound.metric)]]
        self.ticks = self._tightest(masks)
        """Of the costs under the tightest bound that adds up."""
        self.counts = Counts(self.ticks, "outer")
        if not self.counts.total:
            raise BoundError(f"no network of space '{self.space.name}' meets {_text(bounds)}")
        self.acceptance = 1.0
        """The share of what is counted that is inside: of 4,096 draws, or 1 if that is known."""
        self._starts: Integers | None = None
        self._counts_alone = self._can_count()
        if not self._counts_alone:
            self._try()

    def _tightest(self, masks: Masks) -> Ticks:
        if not self._sums:
            return Ticks(self.space, Band.everything(self._costs), masks, TICKS)
        bands = [Band.of(self._costs, bound) for bound in self._sums]
        totals = [0.0]
        if len(bands) > 1:
            coarse = [Ticks(self.space, band, masks, COARSE_TICKS) for band in bands]
            totals = [Counts(ticks, "outer").total for ticks in coarse]
        return Ticks(self.space, bands[int(np.argmin(totals))], masks, TICKS)

    def _can_count(self) -> bool:
        """Whether what is counted is just what is inside."""
        maxima = [bound for bound in self._bounds if bound not in self._sums]
        has_least = any(bound.lower > -math.inf for bound in maxima)
        return self.counts.is_exact and len(self._sums) <= 1 and not has_least

    def _try(self) -> None:
        """Draw, to see how many are inside."""
        # A fixed seed: this belongs to the bounds, and no strategy's draws may depend on it.
        draws = self.counts.draw(TRIAL_DRAWS, np.random.default_rng(0))
        self.acceptance = float(self._inside(draws).mean())
        if self.acceptance < LEAST_ACCEPTANCE:
            self._starts = self._find_starts(draws)

    @property
    def share(self) -> float | None:
        """The share of all gene tuples that is inside, 0..1.

        None where too few of the draws that were tried are inside to tell.
        """
        if self.acceptance < LEAST_TOLD:
            return None
        return self.counts.total * self.acceptance / self.space.cardinality

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """``count`` networks inside: (count, number of choices)."""
        if self._counts_alone:
            return self.counts.draw(count, rng)
        if self._starts is not None:
            chosen = rng.integers(len(self._starts), size=count)
            return sweep(self.space, self._starts[chosen], self._inside, rng)
        kept = [np.zeros((0, len(self.space.choices)), np.int64)]
        missing = count
        while missing > 0:
            drawn = self.counts.draw(self._wanted(missing), rng)
            kept.append(drawn[self._inside(drawn)][:missing])
            missing -= len(kept[-1])
        return np.concatenate(kept)

    def _wanted(self, missing: int) -> int:
        """Draws that so many are kept of in the mean."""
        return min(math.ceil(missing / self.acceptance), MOST_AT_ONCE)

    def _find_starts(self, draws: Integers) -> Integers:
        """Networks inside: the best draws, each improved gene by gene."""
        sizes = self.space.gene_sizes

        def score(genes: Integers) -> Floats:
            return excess(self._costs, self._bounds, genes)

        reached = []
        nearest = math.inf
        for start in draws[np.argsort(score(draws), kind="stable")[:MOST_STARTS]]:
            genes, missed_by = descend(start, score, sizes)
            nearest = min(nearest, missed_by)
            if self._inside(genes[None])[0]:
                reached.append(genes)
        if not reached:
            raise BoundError(
                f"found no network of space '{self.space.name}' that meets {_text(self._bounds)}; "
                f"the nearest one misses by {100 * nearest:.1f} % in all. Loosen one of them"
            )
        return np.unique(reached, axis=0)


def _text(bounds: Sequence[Bound]) -> str:
    return " and ".join(map(str, bounds))
