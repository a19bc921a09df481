"""What a confirmation trains by: a run's short recipe, for longer, and one score on *test*.

The recipe is that of the run whatever its evaluator was: an evaluator that trains no network
describes the short training beside which it is judged.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.arch import Architecture
from nas.data import Dataset, split, tensors
from nas.errors import RunError, UsageError
from nas.evaluate.images import best_device
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.training import TrainingEvaluator
from nas.study.evaluator import Retraining as Contract
from nas.train import score, threads
from nas.train.teacher import Teacher, load_teacher
from nas.trial import Metrics

__all__ = ["Retraining", "retraining"]

LARGEST_FACTOR = 1000.0
BESIDE_THE_RECIPE = ("version", "threads", "device", "evaluator", "teacher")
"""What a run's description of its training holds beside the fields of the recipe."""


class Retraining(TrainingEvaluator, Contract):
    """A run's recipe for ``factor`` times the epochs and images, scored on *test* alone."""

    # Parts would be scored on *search*, and a confirmation looks at *test* alone, once.
    followable = False

    def __init__(self, dataset: Dataset, recipe: Mapping[str, Any], factor: float) -> None:
        if not 0 < factor <= LARGEST_FACTOR:
            raise UsageError(
                f"--epochs-factor must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}"
            )
        schedule = "short training's" if "evaluator" in recipe else "search's"
        super().__init__(
            split(dataset),
            _short_recipe(recipe, dataset).times(factor),
            recipe=f"{factor:g} times the {schedule} schedule",
            thread_count=recipe.get("threads", 1),
            device=best_device(),
            # Without the same teacher, accuracies would not compare with the run's.
            teacher=_same_teacher(recipe["teacher"], dataset) if "teacher" in recipe else None,
        )
        self._test: tuple[Tensor, Tensor] | None = None

    def open_test(self, ledger: Path) -> int:
        """Read the test set and count that in a ledger; how many images it has."""
        images, labels = self.splits.open_test(ledger)
        prepared = tensors(images, self.statistics, self.proxy.resolution)
        self._test = prepared.to(self.device), torch.from_numpy(labels).to(self.device)
        return len(labels)

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train one network and score it once on *test*, which must be open.

        Raises `TrainingError`, and `RunError` before `open_test`.
        """
        if self._test is None:
            raise RunError(
                "the test set must be opened, and counted, before a network is scored on it"
            )
        with threads(self.thread_count):
            return score(self.trained(architecture, seed), *self._test)


def _short_recipe(described: Mapping[str, Any], dataset: Dataset) -> Proxy:
    """The recipe of the run's short trainings; fields that the run lacks are the preset's.

    Raises `RunError` for a setting of another version.
    """
    settings = {n: value for n, value in described.items() if n not in BESIDE_THE_RECIPE}
    foreign = settings.keys() - {field.name for field in dataclasses.fields(Proxy)}
    if foreign:
        raise RunError(
            "the run's recipe holds settings this version does not know: "
            f"{', '.join(sorted(foreign))}"
        )
    return dataclasses.replace(preset(dataset)[1], **settings)


def _same_teacher(described: Mapping[str, Any], dataset: Dataset) -> Teacher:
    """The run's teacher, from where it was; one that has changed since raises `RunError`."""
    files = [*described["files"], None][:2]
    teacher = load_teacher(
        files[0],
        files[1],
        dataset,
        temperature=described["temperature"],
        weight=described["weight"],
    )
    if teacher.digest != described["digest"]:
        raise RunError(
            f"teacher {' '.join(described['files'])} is not the one the run was made with: "
            "put that back"
        )
    return teacher


def retraining(dataset: Dataset, recipe: Mapping[str, Any], factor: float) -> Retraining:
    """See `nas.study.evaluator.Retrain`."""
    return Retraining(dataset, recipe, factor)
