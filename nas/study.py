"""The loop: ask, evaluate, record, tell."""

from typing import Protocol

from nas.arch import Architecture
from nas.trial import Metrics

__all__ = ["Evaluator"]


class Evaluator(Protocol):
    """Gives a network its measured metrics, such as ``accuracy``.

    Raises `NasError` (`TrainingError`) for a network that fails; the trial is then recorded as failed.
    """

    noisy: bool
    """Whether a second evaluation of the same network, with another seed, is worth paying for."""

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train or look up one network. Equal arguments give equal metrics on the same machine."""
