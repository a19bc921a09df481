"""How long a training goes, at what rate, by which optimiser: plain values, nothing of torch."""

import math
from dataclasses import dataclass

from nas.errors import TrainingError, unknown

__all__ = ["DECAYS", "OPTIMISERS", "Schedule"]

OPTIMISERS = ("adamw", "rmsprop", "sgd")
DECAYS = ("cosine", "exponential")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``steps`` batches of ``batch_size`` images; ``lr`` is the peak rate.

    ``warmup`` and ``average`` are shares of the steps: a linear rise at the start, and the part at
    the end whose weights (and batch norm statistics) are averaged into the result. ``ema`` is the
    decay of an exponential average instead, 0 for none. ``weight_decay`` spares norms and biases.
    ``decay``: ``cosine`` falls to 0, ``exponential`` is multiplied by ``drop`` whenever
    ``drop_every``, a share of the steps, has passed. ``optimiser``: see `nas.train.optimisers`;
    ``eps`` is that of ``rmsprop`` and ``adamw``. A batch is worked off in ``accumulate`` equal
    parts, which saves memory and gives batch norms the statistics of a part.
    """

    steps: int
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.1
    label_smoothing: float = 0.0
    average: float = 0.0
    ema: float = 0.0
    optimiser: str = "sgd"
    eps: float = 1e-3
    decay: str = "cosine"
    drop: float = 0.97
    drop_every: float = 0.01
    accumulate: int = 1

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

    def lr_at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rise = self.warmup * self.steps
        if step < rise:
            return self.lr * (step + 1) / (math.ceil(rise) + 1)
        if self.decay == "exponential":
            return self.lr * self.drop ** math.floor(step / (self.drop_every * self.steps))
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (self.steps - rise)))
