"""Training the weights of a supernet: every step trains one network of it, or a few."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.cost.compiled import compile_costs
from nas.errors import TrainingError, UsageError
from nas.space import SearchSpace
from nas.statistics import rng
from nas.supernet.network import Supernet, View
from nas.supernet.optimiser import SharedSGD
from nas.supernet.scoring import run
from nas.train import Augment, Schedule, Source
from nas.trial import Genes

__all__ = ["SAMPLING", "Batches", "SupernetTraining", "Uniform", "extremes", "sampler"]

SAMPLING = ("uniform", "sandwich")
AVERAGED_EVERY = 8
"""Steps between two of the weights that are averaged: each costs a pass over the whole supernet."""
RAMP_FIRST = 10
"""The largest network trains alone for one part in so many of the ramp."""


class Batches:
    """Batches of row numbers by the number of the step alone.

    They are passes over all images, each in an order of its own.
    """

    def __init__(self, images: int, batch_size: int, *, seed: int, stream: str) -> None:
        self.images, self.batch_size, self.seed, self.stream = images, batch_size, seed, stream
        self._orders: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> Tensor:
        """(batch_size,) int64; step counts from 0. A batch may reach over into the next pass."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, self.images)
        return torch.from_numpy(
            np.array([self._order(int(e))[w] for e, w in zip(epochs, within, strict=True)])
        )

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = rng(self.seed, self.stream, epoch).permutation(self.images)
        return self._orders[epoch]


@dataclass(frozen=True)
class Uniform:
    """``count`` networks a step, uniform over genes each.

    Together they show each option of a slot equally often.

    So the ``count`` of the largest slot makes every step strictly fair (Chu et al. 2019, FairNAS,
    https://arxiv.org/abs/1907.01845), and 1 is the single path of Guo et al. 2019,
    https://arxiv.org/abs/1904.00420. Genes stay as they are drawn. In their least spellings empty
    slots come first, and a stage's second slot would get half the updates of its third.
    """

    space: SearchSpace
    count: int = 1

    def __call__(self, draw: np.random.Generator) -> list[Genes]:
        """The step's networks."""
        columns = [
            np.resize(draw.permutation(slot.options), self.count)
            if slot.options > 1
            else np.zeros(self.count, int)
            for slot in self.space.slots
        ]
        return [self._genes(row) for row in zip(*columns, strict=True)]

    def _genes(self, options: Sequence[int]) -> Genes:
        genes: Genes = ()
        for slot, option in enumerate(options):
            genes += self.space.slot_genes(slot, int(option))
        return genes


def extremes(space: SearchSpace) -> tuple[Genes, Genes]:
    """The networks of most and of fewest multiply-adds."""
    macs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    return macs.extreme("macs", largest=True)[1], macs.extreme("macs")[1]


class SupernetTraining:
    """A training that goes a step at a time, and can be stopped and taken up again without a trace.

    ``sample(rng)`` gives a step's networks; their losses on one batch are averaged. ``distil``: the
    first of them teaches the others (Yu et al. 2020, BigNAS, https://arxiv.org/abs/2003.11142):
    they learn its probabilities instead of the labels. ``ramp``: over so many first steps networks
    depart from the one of most multiply-adds, which the first tenth of them train alone: a slot
    takes its drawn option with a probability that rises to 1. So every option learns inside a
    network that works; without it FBNet's 22 slots of nine stay at chance for hundreds of steps.
    All that is random follows from ``seed`` and the step's number. Raises `UsageError` where the
    schedule's batch cannot be cut as its ``accumulate`` asks.
    """

    def __init__(
        self,
        supernet: Supernet,
        images: Source,
        labels: Tensor,
        schedule: Schedule,
        sample: Callable[[np.random.Generator], Sequence[Genes]],
        *,
        seed: int,
        augment: Augment | None = None,
        distil: bool = False,
        ramp: int = 0,
    ) -> None:
        if (
            schedule.batch_size % schedule.accumulate
            or schedule.batch_size < 2 * schedule.accumulate
        ):
            raise UsageError(
                f"a batch of {schedule.batch_size} images cannot be cut into "
                f"{schedule.accumulate} equal parts of two or more: "
                "choose another accumulate or batch_size"
            )
        self.supernet, self.images, self.labels, self.schedule = supernet, images, labels, schedule
        self.sample, self.seed, self.augment, self.distil = sample, seed, augment, distil
        self.optimiser = SharedSGD(
            supernet, momentum=schedule.momentum, weight_decay=schedule.weight_decay
        )
        self.batches = Batches(len(images), schedule.batch_size, seed=seed, stream="weights")
        self.done = 0
        self.ramp, self._largest = ramp, extremes(supernet.space)[0]
        self._mean: dict[str, Tensor] = {}
        self._mean_count = 0

    def advance(self) -> float:
        """Take one step. Returns the mean loss of its networks.

        Raises `TrainingError` unless that is finite.
        """
        networks = self._eased(self.sample(rng(self.seed, "paths", self.done)))
        self._used: list[View] = []
        value = sum(self._backward(networks, *part) for part in self.parts(*self._batch()))
        self.optimiser.step(self._used, self.schedule.lr_at(self.done))
        self.done += 1
        self._average()
        return value

    def _eased(self, networks: Sequence[Genes]) -> Sequence[Genes]:
        """On the ramp, the networks with some slots as the largest network has them."""
        if self.done >= self.ramp:
            return networks
        first = self.ramp // RAMP_FIRST
        departing = max(0, self.done - first) / (self.ramp - first)
        draw, space = rng(self.seed, "ramp", self.done), self.supernet.space
        eased = []
        for genes in networks:
            mixed: Genes = ()
            for start, end, _ in space.radix:
                mixed += (genes if draw.random() < departing else self._largest)[start:end]
            eased.append(mixed)
        return eased

    def _batch(self) -> tuple[Tensor, Tensor]:
        rows = self.batches.rows(self.done).to(self.images.device)
        images, labels = self.images[rows], self.labels[rows]
        if self.augment is not None:
            generator = torch.Generator().manual_seed(
                int(rng(self.seed, "augment", self.done).integers(2**62))
            )
            images, labels = self.augment(images, labels, generator)
        return images, labels

    def parts(self, images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """The equal parts that a batch is worked off in."""
        return zip(
            images.chunk(self.schedule.accumulate),
            labels.chunk(self.schedule.accumulate),
            strict=True,
        )

    def _backward(self, networks: Sequence[Genes], images: Tensor, labels: Tensor) -> float:
        """Add the gradients of a part of the batch; its share of the mean loss."""
        share = 1 / len(networks) / self.schedule.accumulate
        total, teacher = 0.0, None
        for genes in networks:
            path = self.supernet.path(genes)
            path.train()
            logits = run(path, images)
            if teacher is None:
                loss = F.cross_entropy(
                    logits, labels, label_smoothing=self.schedule.label_smoothing
                )
                teacher = logits.detach().softmax(1) if self.distil else None
            else:
                # The teacher's probabilities are soft already: no smoothing.
                loss = F.cross_entropy(logits, teacher)
            total += loss.item()
            if not math.isfinite(total):
                raise TrainingError(
                    f"the supernet's loss is {total} at step {self.done + 1} of "
                    f"{self.schedule.steps}: start anew with a learning rate below "
                    f"{self.schedule.lr:g} (--proxy lr=..) and another --out; "
                    "a checkpoint made before is kept"
                )
            # One network at a time: only one graph is in memory, and gradients add up in the views.
            (loss * share).backward()  # type: ignore[no-untyped-call]
            self._used += self.supernet.views(genes)
        return total * share

    @torch.no_grad()
    def _average(self) -> None:
        if (
            self.done <= self.schedule.steps * (1 - self.schedule.average)
            or self.done % AVERAGED_EVERY
        ):
            return
        self._mean_count += 1
        if not self._mean:
            self._mean = {name: value.clone() for name, value in self.supernet.shared.items()}
            return
        torch._foreach_lerp_(
            [self._mean[name] for name in self.supernet.shared],
            list(self.supernet.shared.values()),
            1 / self._mean_count,
        )

    def finish(self) -> None:
        """Put the averaged weights, if any, into the supernet."""
        if self._mean:
            self.supernet.load(self._mean)

    def state(self) -> dict[str, Any]:
        """All that the steps to come depend on, for ``weights_only`` files."""
        return {
            "done": self.done,
            "weights": self.supernet.state(),
            "velocity": self.optimiser.velocity,
            "mean": self._mean,
            "mean_count": self._mean_count,
        }

    def result(self) -> dict[str, Any]:
        """What is kept of a finished training."""
        return {"done": self.done, "weights": self.supernet.state()}

    def take(self, result: dict[str, Any]) -> None:
        """Be the finished training whose `result` that is."""
        self.supernet.load(result["weights"])
        self.done = result["done"]

    def figures(self) -> dict[str, float]:
        """What a watcher is shown beside the loss."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another `state` of the same training."""
        self.supernet.load(state["weights"])
        self.optimiser.load(state["velocity"])
        self.done, self._mean_count = state["done"], state["mean_count"]
        self._mean = {name: value.to(self.supernet.device) for name, value in state["mean"].items()}


def sampler(
    space: SearchSpace, sampling: str, count: int
) -> Callable[[np.random.Generator], list[Genes]]:
    """A step's networks: ``uniform``, or ``sandwich``.

    A sandwich is the largest, the smallest and ``count`` random ones.
    """
    if sampling not in SAMPLING:
        raise UsageError(f"sampling must be one of {', '.join(SAMPLING)}, not '{sampling}'")
    uniform = Uniform(space, count)
    if sampling == "uniform":
        return uniform
    outer = list(extremes(space))
    return lambda draw: [*outer, *uniform(draw)]
