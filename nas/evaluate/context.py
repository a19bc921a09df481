"""What a function of the user's own is given beside a network."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from nas.arch import Architecture
from nas.backbone import backbone
from nas.errors import RunError, TrainingError, UsageError
from nas.evaluate.sets import Source
from nas.files import make_folder
from nas.model import Network
from nas.model.features import Features, features_of
from nas.objectives import SEARCH, SELECTION
from nas.train.precision import mixed
from nas.trial import Metrics

__all__ = ["Context", "Measure"]

Measure = Callable[["TorchDataset[Any]"], object]
"""Gives a number, or numbers by name, of a data set."""


class Context:
    """What a function of the user's is given beside the network.

    ``seed``: of this evaluation; torch's, numpy's and Python's own generators are seeded by it.
    ``device``: where the network is. ``threads``: of torch. ``budget``: how many times as long to
    train as in a plain search: 1 there, 3 and 9 on the later rungs of a race, 3 in a confirmation.
    ``data``: the `Sets`; None without data. ``architecture``: the network's. ``confirming``:
    whether this is a training of ``nas confirm``, and scores are of *test*.
    """

    def __init__(
        self,
        network: Network,
        *,
        seed: int,
        device: torch.device,
        threads: int,
        budget: float,
        source: Source,
        folder: Path | None,
        on_part: Callable[[Metrics], None] | None,
        names: Sequence[str],
        confirming: bool,
    ) -> None:
        self.architecture: Architecture = network.architecture
        self.seed, self.device, self.threads, self.budget = seed, device, threads, budget
        self.confirming = confirming
        self.data = source.sets(network.architecture.input.size)
        self.scored_test = False
        self._network, self._source, self._folder = network, source, folder
        self._on_part, self._names = on_part, names
        self._step: float | None = None
        self._stop: BaseException | None = None

    @property
    def folder(self) -> Path:
        """For this evaluation's files, such as checkpoints: it is the same again after a kill."""
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="nas-evaluation-"))
        make_folder(self._folder)
        return self._folder

    @property
    def test(self) -> "TorchDataset[Any]":
        """The test set, in a confirmation alone; `score` takes it by itself."""
        if not self.confirming:
            raise RunError("the test set is not to be had in a search: nas confirm opens it, once")
        self.scored_test = True
        return self._source.test(self.architecture.input.size)

    def score(self, measure: Measure) -> dict[str, float]:
        """Metrics on the sets that count now, under the names that a search looks for.

        ``measure``: called with a data set of `data`, gives a number or numbers by name. In a
        search these are *search*, which steers it, and *selection*, which fronts are drawn by; in
        a confirmation *selection* and *test*.
        """
        if self.data is None:
            raise UsageError(
                "context.score measures on sets of data=, and none was given: return the metrics"
            )
        chosen = self._named(measure(self.data.selection))
        if self.confirming:
            tested = self._named(measure(self.test))
            return {**tested, **{SELECTION + name: value for name, value in chosen.items()}}
        steering = self._named(measure(self.data.search))
        return {**chosen, **{SEARCH + name: value for name, value in steering.items()}}

    def autocast(self) -> AbstractContextManager[object]:
        """What forward passes are to run in: mixed precision, where ``--precision`` asks for it.

        On CUDA it is usual, on the CPU nothing unless asked for. Under float16 losses are to be
        scaled (``torch.amp.GradScaler``).
        """
        return mixed(self.device)

    def report(self, step: float, metrics: object) -> None:
        """Tell how the training stands, so that a hopeless one can be ended.

        ``step``: rises from one report to the next. ``metrics``: as the function returns them, of
        the *search* set. Ends the function, by an exception, where the search has given it up.
        """
        if self._step is not None and step <= self._step:
            raise TrainingError(f"the step of a report must rise, from {self._step:g} to {step:g}")
        self._step = step
        if self._on_part is None:
            return
        scores = {}
        for name, value in self._named(metrics).items():
            scores[name if name.startswith(SEARCH) else SEARCH + name] = value
        try:
            self._on_part(scores)
        except BaseException as stop:
            # Kept, as the function may catch whatever its training raises.
            self._stop = stop
            raise

    def backbone(self, strides: Sequence[int] = ()) -> Features:
        """The network without its head: a module that gives a map for each of the strides.

        ``strides``: of 4, 8, 16 and 32; by default those that the network reaches. The module's
        ``channels`` and ``strides`` are the maps'. It shares its weights with the network.
        """
        found = backbone(self.architecture, strides, any_size=False)
        return features_of(self._network, found)

    def result(self, returned: object) -> dict[str, float]:
        """What a function returned, checked: every objective is there, all are numbers."""
        if self._stop is not None:
            raise self._stop
        metrics = self._named(returned)
        for name in self._names:
            if name not in metrics:
                raise TrainingError(
                    f"the function gave no '{name}', which is an objective, but "
                    f"{', '.join(sorted(metrics)) or 'nothing'}"
                )
        return metrics

    def _named(self, value: object) -> dict[str, float]:
        """Numbers by name; a number alone has the name of the only objective."""
        if not isinstance(value, Mapping):
            if len(self._names) != 1:
                raise TrainingError(
                    f"the objectives are {', '.join(self._names)}, so a mapping of names to "
                    f"numbers is wanted, not {_shown(value)}"
                )
            value = {self._names[0]: value}
        return {str(name): _number(name, number) for name, number in value.items()}


def _number(name: object, value: object) -> float:
    if isinstance(value, Tensor | np.ndarray) and value.shape == ():
        value = value.item()
    if not isinstance(value, Real | np.number):
        raise TrainingError(
            f"the function must give a number for '{name}', or a mapping of names to numbers, "
            f"and gave {_shown(value)}"
        )
    return float(value)


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.40}, of type {type(value).__name__}"
