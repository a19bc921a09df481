"""Networks drawn from a distribution over options, given that a cost lies in a window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import Compiled
from nas.errors import BoundError

__all__ = ["Window"]

TICKS = 1 << 12
Floats = NDArray[np.float64]


class Window:
    """Exact draws from independent slots, conditioned on ``lower <= metric <= upper``, by dynamic programming.

    ``weights``: per slot (options,), at least 0, in any scale. The cost is counted in `TICKS`
    ticks, rounded up, so what is drawn is inside; networks within those few ticks of a border are
    not drawn. Raises `BoundError` where no network of positive weight is inside.
    """

    def __init__(
        self, costs: Compiled, metric: str, lower: float, upper: float, weights: Sequence[Floats]
    ) -> None:
        self.space = costs.space
        self.weights = [np.asarray(w, np.float64) / np.max(w) for w in weights]
        column = costs.column(metric)
        floors = [float(v[:, :, column].min()) for v in costs.values]
        above = [v[:, :, column] - floor for v, floor in zip(costs.values, floors, strict=True)]
        room = min(upper - sum(floors), sum(float(v.max()) for v in above))
        if room < 0:
            raise _empty(costs, metric, lower, upper)
        self.tick = (room or 1.0) / TICKS
        self.ticks = [np.ceil(v / self.tick - 1e-9).astype(np.int64) for v in above]
        excess = sum(
            float((t - v / self.tick).max()) for t, v in zip(self.ticks, above, strict=True)
        )
        self.highest = min(
            int((upper - sum(floors)) / self.tick + 1e-9), sum(int(t.max()) for t in self.ticks)
        )
        lowest = (lower - sum(floors)) / self.tick
        self.lowest = max(0, int(np.ceil(lowest + excess - 1e-6))) if lowest > 0 else 0
        self.tables = self._masses()
        if not self.tables[0][0, 0] > 0:
            raise _empty(costs, metric, lower, upper)

    def _masses(self) -> list[Floats]:
        """Per slot, (states, ticks used before): the weight of all completions that end in the window."""
        steps = self.space.chain
        after = np.zeros((int(steps[-1].next.max()) + 1, self.highest + 1))
        after[:, self.lowest :] = 1
        tables = [after]
        for step, ticks, weights in zip(
            reversed(steps), reversed(self.ticks), reversed(self.weights), strict=True
        ):
            now = np.zeros((len(step.states), self.highest + 1))
            for state, option in zip(*np.nonzero(ticks <= self.highest), strict=True):
                used = int(ticks[state, option])
                now[state, : self.highest + 1 - used] += (
                    weights[option] * after[step.next[state, option], used:]
                )
            tables.append(now)
            after = now / (
                now.max() or 1
            )  # only ratios matter, and products of many weights would vanish
            tables[-1] = after
        return tables[::-1]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(count, number of choices)."""
        options = np.zeros((count, len(self.space.chain)), np.int64)
        state, used = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for slot, (step, ticks) in enumerate(zip(self.space.chain, self.ticks, strict=True)):
            spent = used[:, None] + ticks[state]
            mass = self.tables[slot + 1][step.next[state], np.minimum(spent, self.highest)]
            sums = (np.where(spent <= self.highest, mass, 0) * self.weights[slot]).cumsum(axis=1)
            option = (sums <= rng.random(count)[:, None] * sums[:, -1:]).sum(axis=1)
            options[:, slot] = option
            used = used + ticks[state, option]
            state = step.next[state, option]
        rows = [
            [g for slot, o in enumerate(row) for g in self.space.slot_genes(slot, o)]
            for row in options.tolist()
        ]
        return np.array(rows, np.int64).reshape(count, len(self.space.choices))


def _empty(costs: Compiled, metric: str, lower: float, upper: float) -> BoundError:
    low, high = (costs.extreme(metric, largest=side)[0] for side in (False, True))
    return BoundError(
        f"no network of space '{costs.space.name}' has {metric} of {lower:.4g} to {upper:.4g}: "
        f"it reaches {low:.4g} to {high:.4g}"
    )
