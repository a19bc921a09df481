"""A distribution over the networks of a space, with exact, differentiable expectations under it.

Every choice has its own logits, theta; an option of a slot has the sum of its choices' logits.
Slots are independent, so the shape handed over is a Markov chain: its distribution, passed forward
through the compiled costs, gives expectations without sampling.

With ``depth``, how many slots of a stage are filled is a choice of its own, as in TF-NAS (Hu et al.
2020, https://arxiv.org/abs/2008.05314): a slot is empty with the probability that the stage ends
before it, and its filled options share the rest among themselves. So leaving a slot empty does not
compete with each single option, and wins by no default.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import not_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from nas.cost.compiled import Compiled
from nas.errors import UsageError
from nas.trial import Genes

__all__ = ["Distribution"]

NEVER = -1e9
"""The logit of an option that is not allowed.

It is finite, since infinity times a probability of 0 is not a number.
"""

NEAR = 0.01
"""How far, as a share of the target, the expected cost may be off where nothing else is said."""

LARGEST_TILT = 500.0
"""At this tilt 1 % of the target in cost is worth a factor of e^5 in odds: in effect a sort."""
TILT_STEP = 0.5
"""How far the tilt is looked for at first around the last one."""


class Distribution:
    """A distribution in which slots are independent.

    ``theta``: one float64 tensor (options,) per choice, zeros at first: uniform; then, with
    ``depth``, one per stage that has slots to leave empty, over how many are filled. ``allowed``:
    (options,) bool per choice; what is not has no probability.

    ``metric`` names an additive cost, ``reach`` the figures of it that options must leave possible.
    ``tilt`` shifts every option's logit by ``tilt`` times its share of ``target`` in that cost
    (expected over the shapes that reach the slot): with `aim`, the expected cost is the target
    whatever theta says. That is the distribution nearest to theta's, in Kullback-Leibler
    divergence, among those that meet the target on average, exact where the shape handed over does
    not depend on the options. Raises `UsageError` for ``depth`` in a space of fixed depth.
    """

    def __init__(
        self,
        costs: Compiled,
        metric: str,
        target: float,
        *,
        depth: bool = False,
        reach: tuple[float, float] | None = None,
    ) -> None:
        self.space, self.target = costs.space, target
        self.reach = reach or (target * (1 - NEAR), target * (1 + NEAR))
        column = costs.column(metric)
        # In numpy too: `aim` finds a root, and torch's overhead on small arrays would dominate it.
        self._values = [values[:, :, column].copy() for values in costs.values]
        self._next = [step.next for step in self.space.chain]
        self.values = [torch.from_numpy(values) for values in self._values]
        self.next = [torch.from_numpy(successor) for successor in self._next]
        self._empty = [_empty_options(step.words) for step in self.space.chain]
        # An option is a skip only if it leaves the slot empty whatever shape is handed over.
        self._skips = [rows.all(0) for rows in self._empty]
        self._runs = self._stages() if depth else []
        if depth and not self._runs:
            raise UsageError(
                f"depth has nothing to choose: no slot of space '{self.space.name}' "
                "can be left empty"
            )
        sizes = [len(choice) for choice in self.space.choices]
        sizes += [len(run) + 1 for run in self._runs]
        self.theta = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in sizes]
        self.allowed = [torch.ones(len(choice), dtype=torch.bool) for choice in self.space.choices]
        self.temperature = 1.0
        self.tilt = 0.0

    def _stages(self) -> list[list[int]]:
        """The slots of each stage that can be left empty, in order."""
        able = [slot for slot, skips in enumerate(self._skips) if skips.any() and not skips.all()]
        runs = groupby(able, key=lambda slot: self.space.slots[slot].stage)
        return [list(run) for _, run in runs]

    # -- probabilities ----------------------------------------------------------------------------

    def logits(self) -> list[Tensor]:
        """Per slot, (options,): theta over the temperature, before the tilt.

        `NEVER` or less for an option that is not allowed.
        """
        logits = []
        for slot, (first, last, _) in zip(self.space.slots, self.space.radix, strict=True):
            total = torch.zeros((), dtype=torch.float64)
            for choice in range(first, last):
                own = self.theta[choice] / self.temperature
                total = total[..., None] + own.masked_fill(~self.allowed[choice], NEVER)
            logits.append(total.reshape(slot.options))
        for theta, run in zip(self.theta[len(self.allowed) :], self._runs, strict=True):
            self._set_depth(logits, theta, run)
        return logits

    def _set_depth(self, logits: list[Tensor], theta: Tensor, run: list[int]) -> None:
        """Let ``theta``, over how many slots of the run are filled, decide on the empty options."""
        lengths = (theta / self.temperature).log_softmax(0)
        for position, place in enumerate(run):
            # The slot is filled if more slots than stand before it are.
            ends = lengths[: position + 1].logsumexp(0)
            goes_on = lengths[position + 1 :].logsumexp(0)
            logits[place] = _filled_or_not(logits[place], self._skips[place], ends, goes_on)

    def log_probs(self) -> list[Tensor]:
        """Per slot, (options,); differentiable in theta, the tilt taken as it is."""
        return self._tilted(self.logits(), self.tilt)

    def drawn_log_probs(self) -> list[Tensor]:
        """`log_probs` of what networks are drawn from: annealing aside, at a temperature of 1."""
        annealed, self.temperature = self.temperature, 1.0
        try:
            return self.log_probs()
        finally:
            self.temperature = annealed

    def _tilted(self, logits: list[Tensor], tilt: float) -> list[Tensor]:
        states = torch.ones(1, dtype=torch.float64)
        log_probs = []
        for row, values, successor in zip(logits, self.values, self.next, strict=True):
            # states @ values: (options,), each option's cost expected over the shapes it may meet.
            shift = (states @ values) * (tilt / self.target)
            tilted = (row + shift).log_softmax(0)
            log_probs.append(tilted)
            # Detached: the tilt is a constant of the step, so no gradient flows through the shift.
            states = _step(states, tilted.detach().exp(), successor)
        return log_probs

    def aim(self) -> None:
        """Set the tilt so that the expected cost is the target, or as near as a tilt brings it."""
        logits = [row.detach().numpy() for row in self.logits()]
        # A step of theta moves the tilt little: the near bracket nearly always holds the root.
        for reach in (TILT_STEP, LARGEST_TILT):
            low = max(self.tilt - reach, -LARGEST_TILT)
            high = min(self.tilt + reach, LARGEST_TILT)
            least = self._excess(low, logits)
            most = self._excess(high, logits)
            if least < 0 < most:
                root = brentq(self._excess, low, high, args=(logits,), xtol=1e-9, rtol=1e-7)
                self.tilt = float(root)
                return
        self.tilt = low if least >= 0 else high

    def _excess(self, tilt: float, logits: list[NDArray[np.float64]]) -> float:
        """The expected cost over its target, minus 1, under that tilt: grows with it."""
        # Any: numpy's stubs do not know that bincount of weights is of floats.
        states: NDArray[Any] = np.ones(1)
        total = 0.0
        for row, values, successor in zip(logits, self._values, self._next, strict=True):
            costs = states @ values
            probs = softmax(row + costs * (tilt / self.target))
            total += float(costs @ probs)
            states = np.bincount(successor.ravel(), (states[:, None] * probs).ravel())
        return total / self.target - 1

    # -- expectations -----------------------------------------------------------------------------

    def expected(self, log_probs: Sequence[Tensor]) -> Tensor:
        """The expected cost, exact and differentiable."""
        return self._expectation(log_probs, self.values)

    def skip_share(self, log_probs: Sequence[Tensor]) -> Tensor:
        """Expected share of slots left empty, among those that can be; 0 if none can.

        Differentiable.
        """
        return self._expectation(log_probs, self._empty) / self._able

    def _expectation(self, log_probs: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
        states = torch.ones(1, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for logs, value, successor in zip(log_probs, values, self.next, strict=True):
            total = total + states @ value @ logs.exp()
            states = _step(states, logs.exp(), successor)
        return total

    def entropy(self, log_probs: Sequence[Tensor]) -> Tensor:
        """Mean over slots of the entropy as a share of the largest possible, 0..1.

        Differentiable.
        """
        shares = []
        for logs, (first, last, _) in zip(log_probs, self.space.radix, strict=True):
            options = math.prod(int(allowed.sum()) for allowed in self.allowed[first:last])
            # By the options that are still allowed: a choice that has shrunk can be even again.
            if options > 1:
                shares.append(-(logs.exp() * logs).sum() / math.log(options))
        return torch.stack(shares).mean() if shares else torch.zeros((), dtype=torch.float64)

    def reaches(self) -> bool:
        """Whether some tilt brings the expected cost into ``reach``, with what is allowed."""
        logits = [row.detach().numpy() for row in self.logits()]
        low = (1 + self._excess(-LARGEST_TILT, logits)) * self.target
        high = (1 + self._excess(LARGEST_TILT, logits)) * self.target
        return low <= self.reach[1] and high >= self.reach[0]

    def skips(self, genes: Genes) -> float:
        """The share of one network's slots that are empty, among those that can be."""
        return sum(not word for word in self.space.words(genes)) / self._able

    @property
    def _able(self) -> float:
        """How many slots can be left empty, at least 1."""
        return max(sum(float(mask.any()) for mask in self._empty), 1.0)

    # -- networks ---------------------------------------------------------------------------------

    def sample(self, log_probs: Sequence[Tensor], draw: np.random.Generator) -> Genes:
        """One network."""
        genes: list[int] = []
        for slot, logs in enumerate(log_probs):
            # By inversion and one number a slot: Generator.choice refuses sums a little off 1.
            below = logs.detach().exp().cumsum(0) <= draw.random()
            # The last sum may be a little less than 1.
            option = min(int(below.sum()), len(logs) - 1)
            genes += self.space.slot_genes(slot, option)
        return tuple(genes)

    def uniform(self, draw: np.random.Generator) -> Genes:
        """One network, each allowed option of a choice as likely as another."""
        options = [allowed.nonzero()[:, 0].numpy() for allowed in self.allowed]
        return tuple(int(draw.choice(own)) for own in options)

    def log_prob(self, log_probs: Sequence[Tensor], genes: Genes) -> Tensor:
        """Logarithm of the network's probability, (), differentiable."""
        options = [self.space.slot_option(slot, genes) for slot in range(len(log_probs))]
        rows = [logs[option] for logs, option in zip(log_probs, options, strict=True)]
        return torch.stack(rows).sum()

    def by_choice(self, log_probs: Sequence[Tensor]) -> dict[str, list[float]]:
        """Probability of every option by gene name.

        It is the slot's distribution, summed over its other choices.
        """
        probabilities: dict[str, list[float]] = {}
        for slot, logs in zip(self.space.slots, log_probs, strict=True):
            table = logs.detach().exp().reshape([len(choice) for choice in slot.choices] or [1])
            for axis, choice in enumerate(slot.choices):
                probabilities[f"{slot.name}.{choice.name}"] = _marginal(table, axis).tolist()
        return probabilities

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> dict[str, object]:
        """For ``weights_only`` files."""
        return {
            "theta": [value.detach().clone() for value in self.theta],
            "allowed": [mask.clone() for mask in self.allowed],
            "tilt": self.tilt,
            "temperature": self.temperature,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over another `state`. Raises `ValueError` for one that is none."""
        theta = list(state["theta"])
        allowed = list(state["allowed"])
        tilt = float(state["tilt"])
        temperature = float(state["temperature"])
        if _shapes(theta) != _shapes(self.theta):
            raise ValueError("theta is that of other choices")
        of_masks = all(mask.dtype == torch.bool for mask in allowed)
        if _shapes(allowed) != _shapes(self.allowed) or not of_masks:
            raise ValueError("the allowed options are those of other choices")
        possible = math.isfinite(tilt) and temperature > 0
        something_left = all(bool(mask.any()) for mask in allowed)
        if not (possible and something_left):
            raise ValueError(
                "a choice has no option left, or tilt or temperature is no number that can be"
            )
        with torch.no_grad():
            for own, other in zip(self.theta, theta, strict=True):
                own.copy_(other)
        self.allowed = [mask.clone() for mask in allowed]
        self.tilt, self.temperature = tilt, temperature


def _shapes(values: Sequence[Tensor]) -> list[torch.Size]:
    return [value.shape for value in values]


def _empty_options(words: Sequence[Sequence[object]]) -> Tensor:
    """words: by state and option. (s, options) float64: 1 where an option leaves the slot empty."""
    rows = [list(map(not_, row)) for row in words]
    return torch.tensor(rows, dtype=torch.float64)


def _marginal(table: Tensor, axis: int) -> Tensor:
    """The table summed over all other axes, (options,)."""
    others = [other for other in range(table.ndim) if other != axis]
    # torch sums over all axes where none is named.
    return table.sum(others) if others else table


def _filled_or_not(logits: Tensor, skips: Tensor, ends: Tensor, goes_on: Tensor) -> Tensor:
    """logits, skips: (options,). The same.

    The empty options share the probability that the stage ends, the others share the rest.
    """
    empty = logits.masked_fill(~skips, NEVER).log_softmax(0) + ends
    filled = logits.masked_fill(skips, NEVER).log_softmax(0) + goes_on
    # The log_softmax moved what is not allowed: it goes back to where it counts for nothing.
    return torch.where(skips, empty, filled).masked_fill(logits <= NEVER / 2, NEVER)


def _step(states: Tensor, probs: Tensor, successor: Tensor) -> Tensor:
    """states: (s,), probs: (options,), successor: (s, options). The states' distribution after."""
    moved = (states[:, None] * probs[None]).reshape(-1)
    after = torch.zeros(int(successor.max()) + 1, dtype=torch.float64)
    return after.index_add(0, successor.reshape(-1), moved)
