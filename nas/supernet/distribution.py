"""A distribution over the networks of a space, and exact expectations under it that can be differentiated.

Every choice has its own logits, theta; an option of a slot has the sum of its choices' logits. Slots are independent, so the
shape handed over is a Markov chain: its distribution, passed forward through the compiled costs, gives expectations
without sampling.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from nas.cost.compiled import Compiled
from nas.trial import Genes

__all__ = ["Distribution"]

LARGEST_TILT = 500.0
TILT_STEP = 0.5
"""How far the tilt is looked for at first around the last one."""


class Distribution:
    """``theta``: one float64 tensor (options,) per choice, zeros at first: uniform.

    ``metric`` names an additive cost. ``tilt`` shifts every option's logit by ``tilt`` times its share of ``target`` in that
    cost (expected over the shapes that reach the slot): with `aim`, the expected cost is the target whatever theta
    says. That is the distribution nearest to theta's, in Kullback-Leibler divergence, among those that meet
    the target on average, exact where the shape handed over does not depend on the options.
    """

    def __init__(self, costs: Compiled, metric: str, target: float) -> None:
        self.space, self.target = costs.space, target
        column = costs.column(metric)
        self._values = [values[:, :, column].copy() for values in costs.values]
        self._next = [step.next for step in self.space.chain]
        self.values = [torch.from_numpy(values) for values in self._values]
        self.next = [torch.from_numpy(successor) for successor in self._next]
        self.theta = [
            torch.zeros(len(choice), dtype=torch.float64, requires_grad=True) for choice in self.space.choices
        ]
        self.temperature = 1.0
        self.tilt = 0.0
        empty = [[[not word for word in row] for row in step.words] for step in self.space.chain]
        self._empty = [torch.tensor(rows, dtype=torch.float64) for rows in empty]

    # -- probabilities ----------------------------------------------------------------------------

    def logits(self) -> list[Tensor]:
        """Per slot, (options,): theta over the temperature, before the tilt."""
        found = []
        for slot, (first, last, _) in zip(self.space.slots, self.space.radix, strict=True):
            total = torch.zeros((), dtype=torch.float64)
            for theta in self.theta[first:last]:
                total = total[..., None] + theta / self.temperature
            found.append(total.reshape(slot.options))
        return found

    def log_probs(self) -> list[Tensor]:
        """Per slot, (options,); differentiable in theta, the tilt taken as it is."""
        return self._tilted(self.logits(), self.tilt)

    def _tilted(self, logits: list[Tensor], tilt: float) -> list[Tensor]:
        states = torch.ones(1, dtype=torch.float64)
        found = []
        for given, values, successor in zip(logits, self.values, self.next, strict=True):
            shift = (states @ values) * (tilt / self.target)
            found.append((given + shift).log_softmax(0))
            states = _step(states, found[-1].detach().exp(), successor)
        return found

    def aim(self) -> None:
        """Set the tilt so that the expected cost is the target, or as near to it as any tilt brings it."""
        logits = [row.detach().numpy() for row in self.logits()]
        for reach in (TILT_STEP, LARGEST_TILT):
            low, high = max(self.tilt - reach, -LARGEST_TILT), min(self.tilt + reach, LARGEST_TILT)
            ends = self._excess(low, logits), self._excess(high, logits)
            if ends[0] < 0 < ends[1]:
                self.tilt = float(brentq(self._excess, low, high, args=(logits,), xtol=1e-9, rtol=1e-7))
                return
        self.tilt = low if ends[0] >= 0 else high

    def _excess(self, tilt: float, logits: list[NDArray[np.float64]]) -> float:
        """The expected cost over its target, minus 1, under that tilt: grows with it."""
        states: NDArray[Any] = np.ones(1)
        total = 0.0
        for given, values, successor in zip(logits, self._values, self._next, strict=True):
            costs = states @ values
            probs = softmax(given + costs * (tilt / self.target))
            total += float(costs @ probs)
            states = np.bincount(successor.ravel(), (states[:, None] * probs).ravel())
        return total / self.target - 1

    # -- expectations -----------------------------------------------------------------------------

    def expected(self, log_probs: Sequence[Tensor]) -> Tensor:
        """The expected cost, exact and differentiable."""
        return self._expectation(log_probs, self.values)

    def skip_share(self, log_probs: Sequence[Tensor]) -> Tensor:
        """Expected share of slots left empty, among those that can be; 0 where none can. Differentiable."""
        able = sum(float(mask.any()) for mask in self._empty)
        return self._expectation(log_probs, self._empty) / max(able, 1.0)

    def _expectation(self, log_probs: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
        states = torch.ones(1, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for logs, value, successor in zip(log_probs, values, self.next, strict=True):
            total = total + states @ value @ logs.exp()
            states = _step(states, logs.exp(), successor)
        return total

    def entropy(self, log_probs: Sequence[Tensor]) -> Tensor:
        """Mean over slots of the entropy as a share of the largest possible, 0..1. Differentiable."""
        shares = [-(logs.exp() * logs).sum() / math.log(len(logs)) for logs in log_probs if len(logs) > 1]
        return torch.stack(shares).mean()

    def skips(self, genes: Genes) -> float:
        """The share of one network's slots that are empty, among those that can be."""
        able = sum(float(mask.any()) for mask in self._empty)
        return sum(not word for word in self.space.words(genes)) / max(able, 1.0)

    # -- networks ---------------------------------------------------------------------------------

    def sample(self, log_probs: Sequence[Tensor], draw: np.random.Generator) -> Genes:
        """One network."""
        options = [int((logs.detach().exp().cumsum(0) <= draw.random()).sum()) for logs in log_probs]
        pairs = enumerate(min(o, len(logs) - 1) for o, logs in zip(options, log_probs, strict=True))
        return tuple(gene for slot, option in pairs for gene in self.space.slot_genes(slot, option))

    def log_prob(self, log_probs: Sequence[Tensor], genes: Genes) -> Tensor:
        """Logarithm of the network's probability, (), differentiable."""
        return torch.stack([logs[self.space.slot_option(slot, genes)] for slot, logs in enumerate(log_probs)]).sum()

    def by_choice(self, log_probs: Sequence[Tensor]) -> dict[str, list[float]]:
        """Probability of every option by gene name: a slot's distribution, summed over its other choices."""
        found: dict[str, list[float]] = {}
        for slot, logs in zip(self.space.slots, log_probs, strict=True):
            table = logs.detach().exp().reshape([len(choice) for choice in slot.choices] or [1])
            for axis, choice in enumerate(slot.choices):
                others = [d for d in range(table.ndim) if d != axis]
                found[f"{slot.name}.{choice.name}"] = (table.sum(others) if others else table).tolist()
        return found

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """For ``weights_only`` files."""
        theta = [value.detach().clone() for value in self.theta]
        return {"theta": theta, "tilt": self.tilt, "temperature": self.temperature}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over another `state`."""
        with torch.no_grad():
            for value, given in zip(self.theta, state["theta"], strict=True):
                value.copy_(given)
        self.tilt, self.temperature = state["tilt"], state["temperature"]


def _step(states: Tensor, probs: Tensor, successor: Tensor) -> Tensor:
    """states: (s,), probs: (options,), successor: (s, options). The distribution over the states after."""
    moved = (states[:, None] * probs[None]).reshape(-1)
    after = torch.zeros(int(successor.max()) + 1, dtype=torch.float64)
    return after.index_add(0, successor.reshape(-1), moved)
