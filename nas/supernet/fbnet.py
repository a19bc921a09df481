"""FBNet's own search: all blocks of a layer at once, weighted by a Gumbel softmax.

Wu et al. 2019, https://arxiv.org/abs/1812.03443, sections 3.2 and 3.3. The gradient of theta is the
exact one of the relaxed loss, by the reparameterisation of Jang et al. 2017
(https://arxiv.org/abs/1611.01144); as an estimate for the loss of drawn networks it is biased, the
more so the higher the temperature: what is trained is a mixture, what is derived is not.

A step costs about as much as all options together, in time and memory. Slots must hand over one
shape.

Two improvements can be switched on: TF-NAS's loss (Hu et al. 2020,
https://arxiv.org/abs/2008.05314), which seeks a latency instead of weighing it, and a distribution
that shrinks (`nas.supernet.shrinking`).
"""

import math
import statistics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.errors import BoundError, TrainingError
from nas.statistics import rng
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.network import Supernet, View
from nas.supernet.shrinking import Shrinking
from nas.supernet.theta import Remembered
from nas.supernet.training import Batches
from nas.train import Augment, Schedule, Source, swift
from nas.train.loop import SWIFT_SIDE
from nas.train.precision import mixed
from nas.units import counted

__all__ = ["FBNetTraining", "Mixture", "schedule"]

# The paper's settings. The initial theta is not published: zeros, uniform.
EPOCHS, FROZEN_EPOCHS = 90, 10
BATCH_SIZE, LR, MOMENTUM, WEIGHT_DECAY = 192, 0.1, 0.9, 1e-4
THETA_LR, THETA_DECAY = 0.01, 5e-4
TEMPERATURE, ANNEALING = 5.0, 0.045
ALPHA, BETA = 0.2, 0.6

# TF-NAS: how much missing the target by all of it weighs beside the cross-entropy.
TARGET_WEIGHT = 0.1

# The loss takes a logarithm's root of 0.6: it must be positive. In microseconds every network's is.
MICROSECONDS = 1000.0

MOVED = 0.125
"""Of the way from the even share to 1, that of the median choice's likeliest option: below it
hardly anything was chosen. Of nine options one then has less than .22, of two less than .56."""
ENOUGH_STEPS = 1000
"""Of theta, to be advised. The paper takes about 10,000; Adam moves theta by `THETA_LR` a step at
most, so an option of nine needs 350 to gain a probability of .8 over others that stand still."""

SMALLEST = 1e-300
"""The weight whose logarithm stands for that of 0."""


class Mixture:
    """Every slot's output is the sum of its options' outputs, each times its weight.

    Options of weight 0 cost nothing.
    """

    def __init__(self, supernet: Supernet) -> None:
        slots = [supernet.options(slot) for slot in range(len(supernet.space.slots))]
        self.slots = [[nn.Sequential(*layers) for layers, _ in options] for options in slots]
        self.views: list[View] = [
            view for options in slots for _, views in options for view in views
        ]

    def __call__(self, images: Tensor, weights: list[Tensor]) -> Tensor:
        """images: (n, c, s, s), weights: per slot (options,). Logits (n, classes).

        Norms take batch statistics.
        """
        fast = images.device.type == "cpu" and images.shape[3] <= SWIFT_SIDE
        maps = (
            swift.turned(images) if fast else images.contiguous(memory_format=torch.channels_last)
        )
        with mixed(images.device):
            for options, shares in zip(self.slots, weights, strict=True):
                places = [place for place, share in enumerate(shares.tolist()) if share > 0]
                run = [options[place].train() for place in places]
                outs = [swift.run(option, maps) if fast else option(maps) for option in run]
                if len(options) == 1:
                    [maps] = outs
                else:
                    maps = torch.stack(
                        [out * shares[place] for out, place in zip(outs, places, strict=True)]
                    ).sum(0)
        return (swift.turned(maps) if fast else maps).float()


def schedule(images: int, search: int, epochs: int, accumulate: int = 1) -> Schedule:
    """The paper's for so many images of *weights* and *search*.

    A step is one of weights or one of theta.
    """
    size = min(BATCH_SIZE, images, search)
    steps = epochs * (math.ceil(images / size) + math.ceil(search / size))
    return Schedule(
        steps=steps,
        batch_size=size,
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        warmup=0.0,
        accumulate=accumulate,
    )


class FBNetTraining(Remembered):
    """Every epoch trains the weights on *weights*, then, after `FROZEN_EPOCHS`, theta on *search*.

    With fewer than `EPOCHS` the frozen part and the fall of the temperature shrink in proportion.
    Both minimise ``CE * ALPHA * log(LAT)^BETA`` with LAT in microseconds, expected under the
    sampled weights of the options, or with ``loss`` absolute ``CE + TARGET_WEIGHT * |LAT / target -
    1|``. Of the settings those of the path variant are not used.
    """

    def __init__(
        self,
        supernet: Supernet,
        distribution: Distribution,
        weights: tuple[Source, Tensor],
        search: tuple[Tensor, Tensor],
        settings: Settings,
        *,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        planned = schedule(len(weights[0]), len(search[0]), settings.epochs, settings.accumulate)
        super().__init__(supernet, *weights, planned, lambda draw: [], seed=seed, augment=augment)
        self.distribution, self.search, self.settings = distribution, search, settings
        self.frozen = FROZEN_EPOCHS * settings.epochs / EPOCHS
        self.mixture = Mixture(supernet)
        self.weight_steps = math.ceil(len(weights[0]) / planned.batch_size)
        self.theta_steps = math.ceil(len(search[0]) / planned.batch_size)
        self.search_batches = Batches(
            len(search[0]), planned.batch_size, seed=seed, stream="search"
        )
        self.shrinking = Shrinking(distribution, prune=settings.prune, two_path=settings.two_path)
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
        # 5 * exp(-0.045) per epoch of the paper's 90; it falls between epochs, not within them.
        passed = math.floor(epoch) * EPOCHS / self.settings.epochs
        self.distribution.temperature = TEMPERATURE * math.exp(-ANNEALING * passed)

    def advance(self) -> float:
        """One step of weights or of theta; its loss. Raises `TrainingError` unless it is finite."""
        self._cool()
        epoch, step = self._place()
        if step < self.weight_steps:
            value = self._weight_step(epoch * self.weight_steps + step)
        elif epoch >= self.frozen:
            value = self._theta_step(epoch * self.theta_steps + step - self.weight_steps)
        else:  # theta is frozen: nothing to do, and no loss of its own
            value = self._last
        self._last = value
        self.done += 1
        self.remember(value)
        if self.done == self.schedule.steps:
            self._warn_if_unmoved()
        return value

    def _warn_if_unmoved(self) -> None:
        """Say so if the distribution is still nearly even: what it draws is then random search."""
        shares = self.distribution.by_choice(self.distribution.drawn_log_probs()).values()
        tops = [(max(share), 1 / len(share)) for share in shares if len(share) > 1]
        moved = [(top - even) / (1 - even) for top, even in tops]
        if not tops or statistics.median(moved) >= MOVED:
            return
        top, even = (statistics.median(column) for column in zip(*tops, strict=True))
        learning = self.settings.epochs - math.ceil(self.frozen)
        steps = learning * self.theta_steps
        # A frozen part grows with the epochs, so the epochs grow in proportion.
        factor = max(2, math.ceil(ENOUGH_STEPS / max(1, steps)))
        self.warnings.append(
            f"theta: after {counted(steps, 'step')} of it the likeliest options have a probability "
            f"of {top:.2f} (median; even is {even:.2f}), so networks are drawn nearly at random; "
            f"raise epochs={self.settings.epochs} to {factor * self.settings.epochs}, say"
        )

    def _weight_step(self, number: int) -> float:
        rows = self.batches.rows(number).to(self.images.device)
        images, labels = self.images[rows], self.labels[rows]
        if self.augment is not None:
            generator = torch.Generator().manual_seed(
                int(rng(self.seed, "augment", self.done).integers(2**62))
            )
            images, labels = self.augment(images, labels, generator)
        value = self._gradients(images, labels)
        self.optimiser.step(self.mixture.views, self.schedule.lr_at(self.done))
        self._clear_theta()
        return value

    def _theta_step(self, number: int) -> float:
        rows = self.search_batches.rows(number).to(self.images.device)
        self._clear_theta()
        value = self._gradients(self.search[0][rows], self.search[1][rows])
        self.adam.step()
        # What this loss left at the weights is of *search*, which must not train them.
        for view in self.mixture.views:
            view.leaf.grad = None
        self._clear_theta()
        first = self.frozen / self.settings.epochs
        self.shrinking.after((self.done / self.schedule.steps - first) / (1 - first), self.adam)
        return value

    def _gradients(self, images: Tensor, labels: Tensor) -> float:
        """Leave the loss's gradients behind, part by part; the loss."""
        total = 0.0
        for part in self.parts(images, labels):
            loss = self._loss(*part) / self.schedule.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def _clear_theta(self) -> None:
        for theta in self.distribution.theta:
            theta.grad = None

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        draw = rng(self.seed, "gumbel", self.done)
        # m = softmax((theta + g) / temperature), g of Gumbel(0, 1). The logits are divided already.
        logits = self.distribution.logits()
        noise = [
            torch.from_numpy(draw.gumbel(size=len(row))) / self.distribution.temperature
            for row in logits
        ]
        # LAT = sum over layers and blocks of m * LAT(block): linear in the weights of each slot.
        weights = [(row + extra).softmax(0) for row, extra in zip(logits, noise, strict=True)]
        latency = self.distribution.expected([row.clamp(min=SMALLEST).log() for row in weights])
        entropy = F.cross_entropy(
            self.mixture(images, [row.to(images.dtype) for row in weights]), labels
        )
        loss = self._weighed(entropy, latency)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the mixture's loss is {loss.item()} at step {self.done + 1} of "
                f"{self.schedule.steps}: the paper's learning rate is too high for this data. Use "
                "--strategy differentiable, with another --out; a checkpoint made before is kept"
            )
        return loss

    def _weighed(self, entropy: Tensor, latency: Tensor) -> Tensor:
        """entropy: () nats; latency: () ms. The loss, ().

        Raises `BoundError` if a factor would not be positive.
        """
        if self.settings.loss == "absolute":
            return entropy + (TARGET_WEIGHT * (latency / self.distribution.target - 1).abs()).to(
                entropy.dtype
            )
        # Equation 2: a product, not a sum, and beta is the logarithm's exponent. Public
        # re-implementations take log(LAT^beta), which is beta * log(LAT), or add the term instead.
        latency = latency * MICROSECONDS
        if latency.item() <= 1:
            raise BoundError(
                f"FBNet's loss takes log(LAT)^{BETA}, and LAT is {latency.item():.3g} µs: "
                "it must be above 1"
            )
        return entropy * (ALPHA * latency.log() ** BETA).to(entropy.dtype)
