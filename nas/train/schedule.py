"""How long a training goes, at what rate, by which optimiser: plain values, nothing of torch."""

import math
from dataclasses import dataclass

from nas.errors import TrainingError, unknown

__all__ = ["DECAYS", "OPTIMISERS", "Schedule"]

OPTIMISERS = ("adamw", "rmsprop", "sgd")
DECAYS = ("cosine", "exponential")
EPS = {"adamw": 1e-8, "rmsprop": 1e-3}
"""Of each optimiser that has one: AdamW's as published, and MnasNet's."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Batches, rates and averages of a training."""

    steps: int
    """Batches."""
    batch_size: int = 64
    """Images in each."""
    lr: float = 0.1
    """Peak rate."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    """Spares norms and biases."""
    warmup: float = 0.1
    """Share of the steps, at the start, in which the rate rises linearly."""
    label_smoothing: float = 0.0
    average: float = 0.0
    """Share of the steps, at the end, whose weights and norm statistics are averaged."""
    ema: float = 0.0
    """Decay of an exponential average instead; 0: none."""
    optimiser: str = "sgd"
    """See `nas.train.optimisers`."""
    eps: float = 0.0
    """Of ``rmsprop`` and ``adamw``; 0: the optimiser's own, see `EPS`."""
    decay: str = "cosine"
    """``cosine`` falls to 0; ``exponential`` is multiplied by ``drop`` again and again."""
    drop: float = 0.97
    drop_every: float = 0.01
    """Share of the steps after which the rate drops."""
    accumulate: int = 1
    """Equal parts that a batch is worked off in: less memory, and norms see a part at a time."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise TrainingError(
                "a schedule needs at least one step and two images a batch, "
                f"not {self.steps} and {self.batch_size}"
            )
        if not (0 <= self.warmup < 1 and 0 <= self.average <= 1):
            raise TrainingError(
                f"warmup and average are shares of the steps, not {self.warmup} and {self.average}"
            )
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.decay not in DECAYS:
            raise unknown("decay of the rate", self.decay, DECAYS)
        if self.average and self.ema:
            raise TrainingError(
                f"weights are averaged one way: average={self.average:g} or "
                f"ema={self.ema:g}, not both"
            )

    @property
    def epsilon(self) -> float:
        """``eps``, or the optimiser's own."""
        # SGD has none; this is what the records of its trainings have always held.
        return self.eps or EPS.get(self.optimiser, 1e-3)

    def lr_at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rise = self.warmup * self.steps
        if step < rise:
            # Neither 0 at the first step, which would learn nothing, nor the peak at the last.
            return self.lr * (step + 1) / (math.ceil(rise) + 1)
        if self.decay == "exponential":
            # Counted from the first step, the rise included, as TensorFlow's schedules are.
            return self.lr * self.drop ** math.floor(step / (self.drop_every * self.steps))
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (self.steps - rise)))
