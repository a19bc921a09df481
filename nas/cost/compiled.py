"""Additive costs of a whole space as small arrays.

One gather and one sum price any number of networks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["Compiled", "compile_costs"]

CHUNK = 1 << 14
"""Networks priced at a time: what lies between stays in a cache, however many are asked for."""
LARGEST_RUN = 1 << 12
"""States times options of slots that are joined. One gather then stands for several."""

Floats = NDArray[np.float64]
LayerCosts = Callable[[Layer], Sequence[float]]


class _Run(NamedTuple):
    """Neighbouring slots, joined into one table."""

    first: int
    last: int
    """The slot after its last."""
    costs: Floats
    """(states times options, costs)."""
    successor: NDArray[np.int64] | None
    """(states times options,). The state after it; None if there is a single one."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """Costs of every slot, state and option of a space."""

    space: SearchSpace
    names: tuple[str, ...]
    values: tuple[Floats, ...]
    """Per slot, (states, options, costs)."""
    maxima: tuple[bool, ...]
    """Per cost, whether a network's is the largest over its slots (peak memory), not their sum."""

    def price(self, genes: NDArray[np.integer[Any]]) -> Floats:
        """genes: (n, number of choices), in range. Costs: (n, number of costs)."""
        genes = np.asarray(genes)
        out = np.empty((len(genes), len(self.names)))
        for start in range(0, len(genes), CHUNK):
            part = slice(start, start + CHUNK)
            self._price_chunk(self.space.options(genes[part]), out[part])
        return out

    def _price_chunk(self, options: list[NDArray[np.int64]], out: Floats) -> None:
        out[:] = 0
        maximal = np.flatnonzero(self.maxima)
        state: NDArray[np.int64] | int = 0
        for first, last, table, successor in self._runs:
            index = options[first]
            for slot in range(first + 1, last):
                index = index * self.values[slot].shape[1] + options[slot]
            if not isinstance(state, int):
                index = index + state * (len(table) // len(self.values[first]))
            rows = table.take(index, axis=0)
            if maximal.size:
                # Put into the rows and taken out of the sums, so that one addition serves both.
                rows[:, maximal] = np.maximum(rows[:, maximal], out[:, maximal])
                out[:, maximal] = 0
            out += rows
            state = 0 if successor is None else successor.take(index)

    @cached_property
    def _runs(self) -> list[_Run]:
        """Slots joined while their options are few."""
        runs: list[_Run] = []
        first = 0
        while first < len(self.space.chain):
            runs.append(self._run(first))
            first = runs[-1].last
        return runs

    def _run(self, first: int) -> _Run:
        """The slots from ``first`` on that are joined."""
        steps = self.space.chain
        table, successor = self.values[first], steps[first].next
        last = first + 1
        while last < len(steps) and successor.size * self.values[last].shape[1] <= LARGEST_RUN:
            # Both are (states, options, options of the next slot, costs).
            before = table[:, :, None]
            following = self.values[last][successor]
            table = np.where(self.maxima, np.maximum(before, following), before + following)
            table = table.reshape(len(table), -1, len(self.names))
            successor = steps[last].next[successor].reshape(len(table), -1)
            last += 1
        has_single_state = successor.max() == 0
        return _Run(
            first,
            last,
            table.reshape(-1, len(self.names)),
            None if has_single_state else successor.ravel(),
        )

    def of(self, genes: Genes) -> dict[str, float]:
        """Costs of one network by name."""
        return dict(zip(self.names, self.price(np.array([genes])).tolist()[0], strict=True))

    def column(self, name: str) -> int:
        """Where a cost stands."""
        return self.names.index(name)

    def extreme(self, name: str, *, largest: bool = False) -> tuple[float, Genes]:
        """The exact minimum (or maximum) of a cost over the space, and genes that reach it."""
        column = self.column(name)
        sign = -1.0 if largest else 1.0
        # The greatest is the least of the negated costs, among which a maximum is a minimum.
        join: np.ufunc = np.add
        if self.maxima[column]:
            join = np.minimum if largest else np.maximum
        # From the last slot back: per state, the least that the slots from there on can cost.
        best = np.zeros(int(self.space.chain[-1].next.max()) + 1)
        picks: list[NDArray[np.int64]] = []
        for step, values in zip(reversed(self.space.chain), reversed(self.values), strict=True):
            totals = join(sign * values[:, :, column], best[step.next])
            picks.append(totals.argmin(axis=1))
            best = totals.min(axis=1)
        state, genes = 0, Genes()
        for slot, (step, pick) in enumerate(zip(self.space.chain, reversed(picks), strict=True)):
            option = int(pick[state])
            genes += self.space.slot_genes(slot, option)
            state = int(step.next[state, option])
        return sign * float(best[0]), genes


def compile_costs(
    space: SearchSpace,
    names: Sequence[str],
    costs: LayerCosts,
    maxima: Sequence[str] = (),
    once: Mapping[str, float] = MappingProxyType({}),
) -> Compiled:
    """Compile per-layer costs, one figure per name.

    Those named in ``maxima`` are maxima, the others sums.
    ``once``: what a whole network costs on top, by name of a sum; it stands in the first slot.
    """
    # A layer stands in thousands of words, and a table takes a while to price it.
    known: dict[Layer, Floats] = {}

    def of(layer: Layer) -> Floats:
        if layer not in known:
            known[layer] = np.array(costs(layer), dtype=np.float64)
        return known[layer]

    largest = np.array([name in maxima for name in names])

    def word_costs(word: tuple[Layer, ...]) -> Floats:
        if not word:
            return np.zeros(len(names))
        rows = np.array([of(layer) for layer in word])
        return np.asarray(np.where(largest, rows.max(axis=0), rows.sum(axis=0)))

    values = tuple(
        np.array([[word_costs(word) for word in row] for row in step.words]) for step in space.chain
    )
    # Every network takes one option of the first slot, and takes it once.
    values[0][:] += [once.get(name, 0.0) for name in names]
    return Compiled(space, tuple(names), values, tuple(map(bool, largest)))
