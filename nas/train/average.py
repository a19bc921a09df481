"""The average of a network over the steps of its training, batch norm statistics included."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.train.schedule import Schedule

__all__ = ["Average"]


class Average:
    """The mean of the last steps, or an exponential mean over all of them, as the schedule says.

    The exponential one starts with a smaller decay, ``(1 + n) / (10 + n)`` after n steps, as
    TensorFlow's does: else a decay of 0.9999 would remember the initialisation for 30,000 steps.
    """

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        # Counters of batches are integers: they have no mean.
        self.state = [v for v in network.state_dict().values() if v.is_floating_point()]
        self.ema = schedule.ema
        self.first = 0 if schedule.ema else schedule.steps * (1 - schedule.average)
        self.mean: list[Tensor] = []
        self.count = 0

    def after(self, step: int) -> None:
        """Take the network as it is after a step, counted from 0, if the schedule asks for it."""
        if step >= self.first:
            self._add()

    def _add(self) -> None:
        self.count += 1
        if not self.mean:
            self.mean = [v.clone() for v in self.state]
        else:
            torch._foreach_lerp_(self.mean, self.state, self._share())

    def _share(self) -> float:
        """The weight of the newest step in the mean."""
        if not self.ema:
            return 1 / self.count
        return 1 - min(self.ema, (1 + self.count) / (10 + self.count))

    def store(self) -> None:
        """Write the mean, if there is one, into the network."""
        for value, mean in zip(self.state, self.mean, strict=bool(self.mean)):
            value.copy_(mean)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network is the mean inside, if there is one, and goes on as it was after."""
        kept = [v.clone() for v in self.state] if self.mean else []
        self.store()
        try:
            yield
        finally:
            for value, own in zip(self.state, kept, strict=bool(kept)):
                value.copy_(own)
