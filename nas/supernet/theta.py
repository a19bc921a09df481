"""One-path differentiable search: weights and distribution trained in turn, on images of their own.

A weight step trains one network on *weights*: drawn from the distribution, or, every second time,
uniformly random (TF-NAS, Hu et al. 2020, https://arxiv.org/abs/2008.05314, trains both), so that
what is rarely drawn is still judged by trained weights. A theta step draws a few networks, reads
their losses on one batch of *search*, without gradients, and follows the score function estimator
(REINFORCE, Williams 1992) with the mean loss of the others as each one's baseline: it is unbiased
for the gradient of the expected loss at the present weights, and costs forward passes only.
Advantages are divided by their running deviation, which changes its length, not its direction.

The cost needs no gradient: after each step the distribution is tilted onto its target
(`Distribution.aim`).
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.errors import TrainingError
from nas.statistics import rng
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.network import Supernet
from nas.supernet.scoring import run
from nas.supernet.shrinking import Shrinking
from nas.supernet.training import Batches, SupernetTraining
from nas.train import Augment, Schedule, Source
from nas.trial import Genes

__all__ = ["Remembered", "ThetaTraining", "reinforce"]

ADAM = (0.5, 0.999)  # TF-NAS
SCALE_MEMORY = 0.9
SNAPSHOTS = 60
EARLY_ENTROPY = 0.6
"""The guard keeps the entropy, as a share of the largest, above this at first.

At the end it keeps it above 0.
"""

GUARD = 20.0


def reinforce(losses: Tensor, log_probs: Tensor) -> Tensor:
    """losses, log_probs: (k,), k at least 2. What has the expected loss's estimated gradient, ().

    Each network's loss is compared with the mean of the others, which does not depend on it:
    unbiased.
    """
    count = len(losses)
    advantages = (losses - losses.mean()) * (count / (count - 1))
    return (advantages.detach() * log_probs).mean()


class Remembered(SupernetTraining):
    """A training of weights and of a distribution: its figures, its history, its checkpoint."""

    distribution: Distribution
    shrinking: Shrinking
    adam: torch.optim.Adam
    history: list[dict[str, Any]]
    warnings: list[str]
    scale = 0.0

    def remember(self, loss: float) -> None:
        """Add a row to the history, about `SNAPSHOTS` times in all, and after the last step."""
        if self.done % max(1, self.schedule.steps // SNAPSHOTS) and self.done < self.schedule.steps:
            return
        with torch.no_grad():
            log_probs = self.distribution.log_probs()
            row = {
                "step": self.done,
                "loss": loss,
                **self.figures(),
                "tilt": self.distribution.tilt,
            }
            self.history.append({**row, "probabilities": self.distribution.by_choice(log_probs)})

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Expected cost, entropy as a share, temperature, expected share of empty slots.

        Also how many options are left, if some are not.
        """
        log_probs, allowed = self.distribution.log_probs(), torch.cat(self.distribution.allowed)
        return {
            "expected": float(self.distribution.expected(log_probs)),
            "entropy": float(self.distribution.entropy(log_probs)),
            "temperature": self.distribution.temperature,
            "skips": float(self.distribution.skip_share(log_probs)),
            **({} if allowed.all() else {"options": float(allowed.sum())}),
        }

    def _theta_state(self) -> dict[str, Any]:
        return {
            "distribution": self.distribution.state(),
            "shrinking": self.shrinking.state(),
            "scale": self.scale,
            "history": list(self.history),
            "warnings": list(self.warnings),
        }

    def state(self) -> dict[str, Any]:
        """See `SupernetTraining`."""
        return {**super().state(), **self._theta_state(), "adam": self.adam.state_dict()}

    def result(self) -> dict[str, Any]:
        """See `SupernetTraining`."""
        return {**super().result(), **self._theta_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """See `SupernetTraining`."""
        super().restore(state)
        self.adam.load_state_dict(state["adam"])
        self._take_theta(state)

    def take(self, result: dict[str, Any]) -> None:
        """See `SupernetTraining`."""
        super().take(result)
        self._take_theta(result)

    def _take_theta(self, state: dict[str, Any]) -> None:
        if not all(isinstance(row, dict) for row in state["history"]) or not all(
            isinstance(line, str) for line in state["warnings"]
        ):
            raise ValueError("its history is none")
        self.distribution.load(state["distribution"])
        self.shrinking.load(state["shrinking"])
        self.scale = state["scale"]
        self.history = list(state["history"])
        self.warnings = list(state["warnings"])


class ThetaTraining(Remembered):
    """A `SupernetTraining` that draws its networks from a distribution, and trains that too.

    ``skip_limit``: the expected share of empty slots that the guard tolerates.
    """

    def __init__(
        self,
        supernet: Supernet,
        distribution: Distribution,
        weights: tuple[Source, Tensor],
        search: tuple[Tensor, Tensor],
        schedule: Schedule,
        settings: Settings,
        *,
        seed: int,
        skip_limit: float = 1.0,
        augment: Augment | None = None,
    ) -> None:
        self.first = math.ceil(settings.frozen * schedule.steps)
        super().__init__(
            supernet,
            *weights,
            schedule,
            self._networks,
            seed=seed,
            augment=augment,
            ramp=self.first if settings.ramp else 0,
        )
        self.distribution, self.settings, self.skip_limit = distribution, settings, skip_limit
        self.search = search
        self.search_batches = Batches(
            len(search[0]), min(schedule.batch_size, len(search[0])), seed=seed, stream="search"
        )
        self.shrinking = Shrinking(distribution, prune=settings.prune, two_path=settings.two_path)
        self.adam = torch.optim.Adam(distribution.theta, settings.lr, ADAM)
        self.scale = 0.0
        self.history: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        distribution.aim()

    @property
    def moving(self) -> bool:
        """Whether theta is trained by now."""
        return self.done >= self.first

    @property
    def progress(self) -> float:
        """The share of theta's steps that are done, 0..1."""
        return (self.done - self.first) / max(1, self.schedule.steps - self.first)

    def _networks(self, draw: np.random.Generator) -> list[Genes]:
        if not self.moving or (self.settings.beside and self.done % 2):
            return [self.distribution.uniform(draw)]
        with torch.no_grad():
            return [self.distribution.sample(self.distribution.log_probs(), draw)]

    def advance(self) -> float:
        """A weight step, and every second time a theta step, once theta moves.

        Raises `TrainingError`.
        """
        loss = super().advance()
        if self.moving and self.done % 2 == 0:
            self.theta_step()
        self.remember(loss)
        return loss

    def theta_step(self) -> None:
        """Move theta once, and tilt the distribution onto its target again."""
        draw = rng(self.seed, "theta", self.done)
        log_probs = self.distribution.log_probs()
        networks = [self.distribution.sample(log_probs, draw) for _ in range(self.settings.samples)]
        losses = self.losses(networks)
        if not bool(torch.isfinite(losses).all()):
            raise TrainingError(
                f"the loss on the search set is not finite at step {self.done}: "
                "try a lower learning rate"
            )
        # A running deviation: that of a few losses alone would make the step's length noise.
        spread = float(losses.std())
        self.scale = (
            spread if not self.scale else SCALE_MEMORY * self.scale + (1 - SCALE_MEMORY) * spread
        )
        logs = torch.stack([self.distribution.log_prob(log_probs, genes) for genes in networks])
        objective = reinforce(losses / max(self.scale, 1e-6), logs) + self._guard(log_probs)
        self.adam.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.shrinking.after(self.progress, self.adam)
        self.distribution.aim()

    @torch.no_grad()
    def losses(self, networks: list[Genes]) -> Tensor:
        """Cross-entropy of each on one batch of *search*, with batch statistics, (k,) float64."""
        rows = self.search_batches.rows(self.done).to(self.search[0].device)
        images, labels = self.search[0][rows], self.search[1][rows]
        space = self.supernet.space
        paths = [self.supernet.path(space.canonical(genes)).train() for genes in networks]
        return torch.tensor(
            [float(F.cross_entropy(run(path, images), labels)) for path in paths],
            dtype=torch.float64,
        )

    def _guard(self, log_probs: list[Tensor]) -> Tensor:
        """Pushes back if skips exceed their limit, or the distribution collapses too early."""
        left = 1 - self.progress
        entropy = self.distribution.entropy(log_probs)
        skips = self.distribution.skip_share(log_probs)
        self._warn(
            entropy.item() < EARLY_ENTROPY * left, "entropy", "the distribution narrows early"
        )
        self._warn(
            skips.item() > self.skip_limit,
            "skips",
            "more slots are empty than in random networks of that cost",
        )
        if not self.settings.guard:
            return torch.zeros((), dtype=torch.float64)
        return GUARD * (
            (EARLY_ENTROPY * left - entropy).clamp(min=0) + (skips - self.skip_limit).clamp(min=0)
        )

    def _warn(self, is_so: bool, name: str, text: str) -> None:
        acts = "pushing back" if self.settings.guard else "guard is off"
        # Once each: a guard that acts for a hundred steps is one thing to know.
        if is_so and not any(line.startswith(name) for line in self.warnings):
            self.warnings.append(f"{name}: at step {self.done} {text}; {acts}")
