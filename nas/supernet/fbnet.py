"""FBNet's own search: all blocks of a layer at once, weighted by a Gumbel softmax.

Wu et al. 2019, https://arxiv.org/abs/1812.03443, sections 3.2 and 3.3. The gradient of theta is the exact one of the relaxed loss, by
the reparameterisation of Jang et al. 2017 (https://arxiv.org/abs/1611.01144); as an estimate for the loss of drawn networks it is biased,
the more so the higher the temperature: what is trained is a mixture, what is derived is not.

A step costs about as much as all options together, in time and memory. Slots must hand over one shape.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.errors import BoundError, TrainingError
from nas.strategies.base import rng
from nas.supernet.distribution import Distribution
from nas.supernet.network import Supernet, View
from nas.supernet.theta import Remembered
from nas.supernet.training import Batches
from nas.train import Augment, Schedule, Source, swift
from nas.train.loop import SWIFT_SIDE

__all__ = ["FBNetTraining", "Mixture", "schedule"]

# The paper's settings. The initial theta is not published: zeros, uniform.
EPOCHS, FROZEN_EPOCHS = 90, 10
BATCH_SIZE, LR, MOMENTUM, WEIGHT_DECAY = 192, 0.1, 0.9, 1e-4
THETA_LR, THETA_DECAY = 0.01, 5e-4
TEMPERATURE, ANNEALING = 5.0, 0.045
ALPHA, BETA = 0.2, 0.6

# The loss takes a logarithm's root of 0.6: it must be positive. In microseconds every network's is.
MICROSECONDS = 1000.0


class Mixture:
    """Every slot's output is the sum of its options' outputs, each times its weight."""

    def __init__(self, supernet: Supernet) -> None:
        slots = [supernet.options(slot) for slot in range(len(supernet.space.slots))]
        self.slots = [[nn.Sequential(*layers) for layers, _ in options] for options in slots]
        self.views: list[View] = [view for options in slots for _, views in options for view in views]

    def __call__(self, images: Tensor, weights: list[Tensor]) -> Tensor:
        """images: (n, c, s, s), weights: per slot (options,). Logits (n, classes), with batch statistics."""
        fast = images.device.type == "cpu" and images.shape[3] <= SWIFT_SIDE
        maps = swift.turned(images) if fast else images.contiguous(memory_format=torch.channels_last)
        for options, shares in zip(self.slots, weights, strict=True):
            outs = [swift.run(option.train(), maps) if fast else option.train()(maps) for option in options]
            if len(outs) == 1:
                [maps] = outs
            else:
                maps = torch.stack([out * share for out, share in zip(outs, shares, strict=True)]).sum(0)
        return swift.turned(maps) if fast else maps


def schedule(images: int, search: int, epochs: int) -> Schedule:
    """The paper's for so many images of *weights* and *search*; a step is one of weights or one of theta."""
    size = min(BATCH_SIZE, images, search)
    steps = epochs * (math.ceil(images / size) + math.ceil(search / size))
    return Schedule(steps=steps, batch_size=size, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, warmup=0.0)


class FBNetTraining(Remembered):
    """Every epoch trains the weights on all of *weights*, then theta on all of *search*, after `FROZEN_EPOCHS`.

    With fewer than `EPOCHS` the frozen part and the fall of the temperature shrink in proportion. Both minimise
    ``CE * ALPHA * log(LAT)^BETA`` with LAT in microseconds, expected under the sampled weights of the options.
    """

    def __init__(
        self,
        supernet: Supernet,
        distribution: Distribution,
        weights: tuple[Source, Tensor],
        search: tuple[Tensor, Tensor],
        epochs: int,
        *,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        planned = schedule(len(weights[0]), len(search[0]), epochs)
        super().__init__(supernet, *weights, planned, lambda draw: [], seed=seed, augment=augment)
        self.distribution, self.search, self.epochs = distribution, search, epochs
        self.mixture = Mixture(supernet)
        self.weight_steps = math.ceil(len(weights[0]) / planned.batch_size)
        self.theta_steps = math.ceil(len(search[0]) / planned.batch_size)
        self.search_batches = Batches(len(search[0]), planned.batch_size, seed=seed, stream="search")
        self.adam = torch.optim.Adam(distribution.theta, THETA_LR, weight_decay=THETA_DECAY)
        self.history: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._last = 0.0
        self._cool()

    def _place(self) -> tuple[int, int]:
        """Epoch, and step in it."""
        return divmod(self.done, self.weight_steps + self.theta_steps)

    def _cool(self) -> None:
        epoch = self.done / (self.weight_steps + self.theta_steps)
        self.distribution.temperature = TEMPERATURE * math.exp(-ANNEALING * math.floor(epoch) * EPOCHS / self.epochs)

    def advance(self) -> float:
        """One step of weights or of theta; its loss. Raises `TrainingError` for one that is not finite."""
        self._cool()
        epoch, step = self._place()
        if step < self.weight_steps:
            value = self._weight_step(epoch * self.weight_steps + step)
        elif epoch >= FROZEN_EPOCHS * self.epochs / EPOCHS:
            value = self._theta_step(epoch * self.theta_steps + step - self.weight_steps)
        else:  # theta is frozen: nothing to do, and no loss of its own
            value = self._last
        self._last = value
        self.done += 1
        self.remember(value)
        return value

    def _weight_step(self, number: int) -> float:
        rows = self.batches.rows(number).to(self.images.device)
        images, labels = self.images[rows], self.labels[rows]
        if self.augment is not None:
            generator = torch.Generator().manual_seed(int(rng(self.seed, "augment", self.done).integers(2**62)))
            images, labels = self.augment(images, labels, generator)
        loss = self._loss(images, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(self.mixture.views, self.schedule.lr_at(self.done))
        self._clear_theta()
        return loss.item()

    def _theta_step(self, number: int) -> float:
        rows = self.search_batches.rows(number).to(self.images.device)
        self._clear_theta()
        loss = self._loss(self.search[0][rows], self.search[1][rows])
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        for view in self.mixture.views:
            view.leaf.grad = None
        self._clear_theta()
        return loss.item()

    def _clear_theta(self) -> None:
        for theta in self.distribution.theta:
            theta.grad = None

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        draw = rng(self.seed, "gumbel", self.done)
        logits = self.distribution.logits()
        noise = [torch.from_numpy(draw.gumbel(size=len(row))) / self.distribution.temperature for row in logits]
        weights = [(row + extra).softmax(0) for row, extra in zip(logits, noise, strict=True)]
        latency = self.distribution.expected([row.log() for row in weights]) * MICROSECONDS
        if latency.item() <= 1:
            raise BoundError(
                f"FBNet's loss takes log(LAT)^{BETA}, and LAT is {latency.item():.3g} µs: it must be above 1"
            )
        entropy = F.cross_entropy(self.mixture(images, [row.to(images.dtype) for row in weights]), labels)
        loss = entropy * (ALPHA * latency.log() ** BETA).to(images.dtype)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the mixture's loss is {loss.item()} at step {self.done + 1} of {self.schedule.steps}; the last checkpoint is kept"
            )
        return loss
