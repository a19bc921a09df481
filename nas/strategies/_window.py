"""Networks drawn from a distribution over options, given that a cost lies in a window."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.errors import BoundError

__all__ = ["Window"]

TICKS = 1 << 12
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
        floors = [float(table.min()) for table in values]
        floor = sum(floors)
        above = [table - least for table, least in zip(values, floors, strict=True)]
        room = min(upper - floor, sum(float(table.max()) for table in above))
        if room < 0:
            raise _empty(costs, metric, lower, upper)
        self.tick = (room or 1.0) / TICKS
        exact = [table / self.tick for table in above]
        self.ticks = [np.ceil(table - 1e-9).astype(np.int64) for table in exact]
        rounded_up = [
            float((ticks - table).max()) for ticks, table in zip(self.ticks, exact, strict=True)
        ]
        most = sum(int(ticks.max()) for ticks in self.ticks)
        self.highest = min(int((upper - floor) / self.tick + 1e-9), most)
        lowest = (lower - floor) / self.tick
        self.lowest = 0
        if lowest > 0:
            self.lowest = max(0, int(np.ceil(lowest + sum(rounded_up) - 1e-6)))
        self.tables = self._masses()
        if not self.tables[0][0, 0] > 0:
            raise _empty(costs, metric, lower, upper)

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
            sums = (np.where(spent <= self.highest, mass, 0) * self.weights[slot]).cumsum(axis=1)
            option = (sums <= rng.random(count)[:, None] * sums[:, -1:]).sum(axis=1)
            options[:, slot] = option
            used = used + ticks[state, option]
            state = step.next[state, option]
        genes = np.empty((count, len(self.space.choices)), np.int64)
        for row, chosen in zip(genes, options.tolist(), strict=True):
            slot_genes = map(self.space.slot_genes, range(len(chosen)), chosen)
            row[:] = list(chain.from_iterable(slot_genes))
        return genes


def _empty(costs: Compiled, metric: str, lower: float, upper: float) -> BoundError:
    low, high = (costs.extreme(metric, largest=side)[0] for side in (False, True))
    return BoundError(
        f"no network of space '{costs.space.name}' has {metric} of {lower:.4g} to {upper:.4g}: "
        f"it reaches {low:.4g} to {high:.4g}"
    )
