"""A distribution over the networks of a space, and exact expectations under it that can be differentiated.

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
"""The logit of an option that is not allowed: finite, since infinity times a probability of 0 is not a number."""

NEAR = 0.01
"""How far, as a share of the target, the expected cost may be off where nothing else is said."""

LARGEST_TILT = 500.0
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
        self._values = [values[:, :, column].copy() for values in costs.values]
        self._next = [step.next for step in self.space.chain]
        self.values = [torch.from_numpy(values) for values in self._values]
        self.next = [torch.from_numpy(successor) for successor in self._next]
        empty = [[[not word for word in row] for row in step.words] for step in self.space.chain]
        self._empty = [torch.tensor(rows, dtype=torch.float64) for rows in empty]
        self._skips = [rows.all(0) for rows in self._empty]
        self._runs = self._stages() if depth else []
        if depth and not self._runs:
            raise UsageError(
                f"depth has nothing to choose: no slot of space '{self.space.name}' can be left empty"
            )
        sizes = [len(choice) for choice in self.space.choices] + [
            len(run) + 1 for run in self._runs
        ]
        self.theta = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in sizes]
        self.allowed = [torch.ones(len(choice), dtype=torch.bool) for choice in self.space.choices]
        self.temperature = 1.0
        self.tilt = 0.0

    def _stages(self) -> list[list[int]]:
        """The slots of each stage that can be left empty, in order."""
        able = [slot for slot, skips in enumerate(self._skips) if skips.any() and not skips.all()]
        return [
            list(run) for _, run in groupby(able, key=lambda slot: self.space.slots[slot].stage)
        ]

    # -- probabilities ----------------------------------------------------------------------------

    def logits(self) -> list[Tensor]:
        """Per slot, (options,): theta over the temperature, before the tilt; `NEVER` or less where it is not allowed."""
        found = []
        for slot, (first, last, _) in zip(self.space.slots, self.space.radix, strict=True):
            total = torch.zeros((), dtype=torch.float64)
            for theta, allowed in zip(
                self.theta[first:last], self.allowed[first:last], strict=True
            ):
                total = total[..., None] + (theta / self.temperature).masked_fill(~allowed, NEVER)
            found.append(total.reshape(slot.options))
        for theta, run in zip(self.theta[len(self.allowed) :], self._runs, strict=True):
            lengths = (theta / self.temperature).log_softmax(0)
            for position, place in enumerate(run):
                ends, goes_on = (
                    lengths[: position + 1].logsumexp(0),
                    lengths[position + 1 :].logsumexp(0),
                )
                found[place] = _filled_or_not(found[place], self._skips[place], ends, goes_on)
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
                self.tilt = float(
                    brentq(self._excess, low, high, args=(logits,), xtol=1e-9, rtol=1e-7)
                )
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
        counts = [
            math.prod(int(a.sum()) for a in self.allowed[first:last])
            for first, last, _ in self.space.radix
        ]
        shares = [
            -(logs.exp() * logs).sum() / math.log(count)
            for logs, count in zip(log_probs, counts, strict=True)
            if count > 1
        ]
        return torch.stack(shares).mean() if shares else torch.zeros((), dtype=torch.float64)

    def reaches(self) -> bool:
        """Whether some tilt brings the expected cost into ``reach``, with what is allowed."""
        logits = [row.detach().numpy() for row in self.logits()]
        low, high = (
            (1 + self._excess(tilt, logits)) * self.target for tilt in (-LARGEST_TILT, LARGEST_TILT)
        )
        return low <= self.reach[1] and high >= self.reach[0]

    def skips(self, genes: Genes) -> float:
        """The share of one network's slots that are empty, among those that can be."""
        able = sum(float(mask.any()) for mask in self._empty)
        return sum(not word for word in self.space.words(genes)) / max(able, 1.0)

    # -- networks ---------------------------------------------------------------------------------

    def sample(self, log_probs: Sequence[Tensor], draw: np.random.Generator) -> Genes:
        """One network."""
        options = [
            int((logs.detach().exp().cumsum(0) <= draw.random()).sum()) for logs in log_probs
        ]
        pairs = enumerate(min(o, len(logs) - 1) for o, logs in zip(options, log_probs, strict=True))
        return tuple(gene for slot, option in pairs for gene in self.space.slot_genes(slot, option))

    def uniform(self, draw: np.random.Generator) -> Genes:
        """One network, each allowed option of a choice as likely as another, whatever theta says."""
        return tuple(int(draw.choice(allowed.nonzero()[:, 0].numpy())) for allowed in self.allowed)

    def log_prob(self, log_probs: Sequence[Tensor], genes: Genes) -> Tensor:
        """Logarithm of the network's probability, (), differentiable."""
        return torch.stack(
            [logs[self.space.slot_option(slot, genes)] for slot, logs in enumerate(log_probs)]
        ).sum()

    def by_choice(self, log_probs: Sequence[Tensor]) -> dict[str, list[float]]:
        """Probability of every option by gene name: a slot's distribution, summed over its other choices."""
        found: dict[str, list[float]] = {}
        for slot, logs in zip(self.space.slots, log_probs, strict=True):
            table = logs.detach().exp().reshape([len(choice) for choice in slot.choices] or [1])
            for axis, choice in enumerate(slot.choices):
                others = [d for d in range(table.ndim) if d != axis]
                found[f"{slot.name}.{choice.name}"] = (
                    table.sum(others) if others else table
                ).tolist()
        return found

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """For ``weights_only`` files."""
        theta = [value.detach().clone() for value in self.theta]
        allowed = [mask.clone() for mask in self.allowed]
        return {
            "theta": theta,
            "allowed": allowed,
            "tilt": self.tilt,
            "temperature": self.temperature,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over another `state`. Raises `ValueError` for one that is none."""
        theta, allowed = list(state["theta"]), list(state["allowed"])
        tilt, temperature = float(state["tilt"]), float(state["temperature"])
        if [v.shape for v in theta] != [v.shape for v in self.theta]:
            raise ValueError("theta is that of other choices")
        if [(m.shape, m.dtype) for m in allowed] != [(m.shape, m.dtype) for m in self.allowed]:
            raise ValueError("the allowed options are those of other choices")
        if not all(bool(mask.any()) for mask in allowed) or not (
            math.isfinite(tilt) and temperature > 0
        ):
            raise ValueError(
                "a choice has no option left, or tilt or temperature is no number that can be"
            )
        with torch.no_grad():
            for value, given in zip(self.theta, theta, strict=True):
                value.copy_(given)
        self.allowed = [mask.clone() for mask in allowed]
        self.tilt, self.temperature = tilt, temperature


def _filled_or_not(logits: Tensor, skips: Tensor, ends: Tensor, goes_on: Tensor) -> Tensor:
    """logits, skips: (options,). The empty options share the probability that the stage ends, the others the rest."""
    empty = logits.masked_fill(~skips, NEVER).log_softmax(0) + ends
    filled = logits.masked_fill(skips, NEVER).log_softmax(0) + goes_on
    return torch.where(skips, empty, filled).masked_fill(logits <= NEVER / 2, NEVER)


def _step(states: Tensor, probs: Tensor, successor: Tensor) -> Tensor:
    """states: (s,), probs: (options,), successor: (s, options). The distribution over the states after."""
    moved = (states[:, None] * probs[None]).reshape(-1)
    after = torch.zeros(int(successor.max()) + 1, dtype=torch.float64)
    return after.index_add(0, successor.reshape(-1), moved)
