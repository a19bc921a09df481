"""Networks drawn from a distribution over options, given that a cost lies in a window."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.errors import BoundError

__all__ = ["Window"]

TICKS = 1 << 12
"""From the cheapest network to the bound.

More make larger tables, and fewer networks that are lost at the borders.
"""
Floats = NDArray[np.float64]


class Window:
    """Exact draws from independent slots, conditioned on ``lower <= metric <= upper``.

    By dynamic programming. ``weights``: per slot (options,), at least 0, in any scale. The cost is
    counted in `TICKS` ticks, rounded up, so what is drawn is inside. Networks within those few
    ticks of a border are not drawn. Raises `BoundError` if no network of positive weight is inside.
    """

    def __init__(
        self, costs: Compiled, metric: str, lower: float, upper: float, weights: Sequence[Floats]
    ) -> None:
        self.space = costs.space
        self.weights = [np.asarray(row, np.float64) / np.max(row) for row in weights]
        column = costs.column(metric)
        values = [table[:, :, column] for table in costs.values]
        floor = sum(float(table.min()) for table in values)
        above = [table - table.min() for table in values]
        room = min(upper - floor, sum(float(table.max()) for table in above))
        if room < 0:
            raise _empty(costs, metric, lower, upper)
        self.tick = (room or 1.0) / TICKS
        exact = [table / self.tick for table in above]
        # Less 1e-9: a cost of just n ticks is n, though its division comes out a little above.
        self.ticks = [np.ceil(table - 1e-9).astype(np.int64) for table in exact]
        most = sum(int(ticks.max()) for ticks in self.ticks)
        self.highest = min(int((upper - floor) / self.tick + 1e-9), most)
        self.lowest = self._first_tick((lower - floor) / self.tick, exact)
        self.tables = self._masses()
        if not self.tables[0][0, 0] > 0:
            raise _empty(costs, metric, lower, upper)

    def _first_tick(self, lower: float, exact: Sequence[Floats]) -> int:
        """The least sum of ticks whose cost is surely at least ``lower``, in ticks unrounded."""
        if lower <= 0:
            return 0
        # Rounding up adds so much at most: what counts as so many ticks may cost that much less.
        rounded_up = 0.0
        for ticks, table in zip(self.ticks, exact, strict=True):
            rounded_up += float((ticks - table).max())
        return max(0, int(np.ceil(lower + rounded_up - 1e-6)))

    def _masses(self) -> list[Floats]:
        """Per slot, (states, ticks used before): the weight of all completions in the window.

        Up to a factor for each slot: only ratios matter, and products of many weights would vanish.
        """
        steps = self.space.chain
        after = np.zeros((int(steps[-1].next.max()) + 1, self.highest + 1))
        after[:, self.lowest :] = 1
        tables = [after]
        for slot in reversed(range(len(steps))):
            step, ticks = steps[slot], self.ticks[slot]
            masses = np.zeros((len(step.states), self.highest + 1))
            for state, option in zip(*np.nonzero(ticks <= self.highest), strict=True):
                used = int(ticks[state, option])
                completions = after[step.next[state, option], used:]
                masses[state, : self.highest + 1 - used] += self.weights[slot][option] * completions
            # Scaled anew at each slot: `draw` compares masses of one table only.
            after = masses / (masses.max() or 1)
            tables.append(after)
        return tables[::-1]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(count, number of choices)."""
        options = np.zeros((count, len(self.space.chain)), np.int64)
        state = np.zeros(count, np.int64)
        used = np.zeros(count, np.int64)
        for slot, (step, ticks) in enumerate(zip(self.space.chain, self.ticks, strict=True)):
            spent = used[:, None] + ticks[state]
            mass = self.tables[slot + 1][step.next[state], np.minimum(spent, self.highest)]
            inside = np.where(spent <= self.highest, mass, 0)
            sums = (inside * self.weights[slot]).cumsum(axis=1)
            # As many sums as lie below the draw precede its option: the inverse of the cumulative.
            option = (sums <= rng.random(count)[:, None] * sums[:, -1:]).sum(axis=1)
            options[:, slot] = option
            used = used + ticks[state, option]
            state = step.next[state, option]
        return self._genes(options)

    def _genes(self, options: NDArray[np.int64]) -> NDArray[np.int64]:
        """options: (n, slots). The genes that name them: (n, number of choices)."""
        genes = np.empty((len(options), len(self.space.choices)), np.int64)
        for row, chosen in zip(genes, options.tolist(), strict=True):
            slot_genes = map(self.space.slot_genes, range(len(chosen)), chosen)
            row[:] = list(chain.from_iterable(slot_genes))
        return genes


def _empty(costs: Compiled, metric: str, lower: float, upper: float) -> BoundError:
    low = costs.extreme(metric)[0]
    high = costs.extreme(metric, largest=True)[0]
    return BoundError(
        f"no network of space '{costs.space.name}' has {metric} of {lower:.4g} to {upper:.4g}: "
        f"it reaches {low:.4g} to {high:.4g}"
    )
