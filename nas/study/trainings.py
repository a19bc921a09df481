"""Trainings on the torch side that are no evaluators: what the torch-free side knows of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from nas.compute import USUAL, Compute
from nas.family import Coefficients, Member
from nas.family.fitted import Fitted
from nas.progress import Progress, Watch, ignore
from nas.strategies.differentiable import Differentiable
from nas.study.evaluator import Data

__all__ = ["Fit", "FitWatch", "Fitting", "Learn"]

FitWatch = Callable[[Progress[str]], None]
"""Is called with the candidate just trained; its figure is ``accuracy``, unless that failed."""


class Fit(Protocol):
    """Candidates of one cost, trained and compared in a folder of their own."""

    def lines(self) -> list[str]:
        """What will be done, a line each, for people."""

    def run(self, watch: FitWatch = ignore) -> Fitted:
        """Train what the folder does not hold yet. Raises `NasError`."""


class Fitting(Protocol):
    """Makes a `Fit`."""

    def __call__(
        self,
        candidates: Sequence[tuple[Coefficients, Member]],
        data: Data,
        folder: str | Path,
        *,
        epochs: float,
        images: int,
        batch_size: int,
        lr: float,
        threads: int,
        seeds: int,
        seed: int,
        compute: Compute = USUAL,
    ) -> Fit:
        """``images``: as many of *weights* are trained on, all for 0; ``seed``: the first one."""


class Learn(Protocol):
    """Trains what strategy ``differentiable`` proposes from."""

    def __call__(
        self,
        strategy: Differentiable,
        data: Data,
        folder: Path,
        *,
        proxy_text: str = "",
        thread_count: int = 1,
        compute: Compute = USUAL,
        watch: Watch = ignore,
    ) -> list[str]:
        """What is worth saying of it, a line each; see `nas.evaluate.differentiable.learn`."""
