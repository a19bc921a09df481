"""What a confirmation trains by: a run's short recipe, for longer, and one score on *test*.

The recipe is that of the run whatever its evaluator was: an evaluator that trains no network
describes the short training beside which it is judged. Or networks are trained themselves, by the
default recipe of ``nas train``.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.compute import Compute
from nas.data import Dataset, LazyTensors, split, tensors
from nas.errors import RunError, UsageError
from nas.evaluate.images import describe_data
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.training import TrainingEvaluator
from nas.objectives import SELECTION
from nas.reading import to_json
from nas.size import Size
from nas.study.evaluator import Retraining as Contract
from nas.train import precise, score, threads
from nas.train.accelerator import device_of, placed
from nas.train.loop import Training
from nas.train.recipe import Recipe
from nas.train.tasks import Classification
from nas.train.teacher import Teacher, load_teacher
from nas.trial import Metrics
from nas.units import counted

__all__ = ["FullRetraining", "Retraining", "full_retraining", "retraining"]

LARGEST_FACTOR = 1000.0
BESIDE_THE_RECIPE = (
    "version",
    "threads",
    "accelerator",
    "device",
    "precision",
    "evaluator",
    "teacher",
    "untrained",
    "preprocessing",
)
"""What a run's description of its training holds beside the fields of the recipe."""


class Retraining(TrainingEvaluator, Contract):
    """A run's recipe for ``factor`` times the epochs and images, scored on *test*, once.

    It is scored on *selection* as well, by which networks are picked.
    """

    # Parts would be scored on *search*, which a confirmation does not look at.
    followable = False
    lengthens = False

    def __init__(self, dataset: Dataset, recipe: Mapping[str, Any], factor: float) -> None:
        _check_factor(factor)
        schedule = "short training's" if "evaluator" in recipe else "search's"
        super().__init__(
            split(dataset),
            _short_recipe(recipe, dataset).times(factor),
            recipe=f"{factor:g} times the {schedule} schedule",
            thread_count=recipe.get("threads", 1),
            device=device_of(recipe.get("accelerator", "auto")),
            precision=recipe.get("precision", "auto"),
            # Without the same teacher, accuracies would not compare with the run's.
            teacher=_same_teacher(recipe["teacher"], dataset) if "teacher" in recipe else None,
        )
        self._test: tuple[Any, Tensor] | None = None
        self._test_by_size: dict[Size, Tensor] = {}

    def open_test(self, ledger: Path) -> int:
        """Read the test set and count that in a ledger; how many images it has."""
        images, labels = self.splits.open_test(ledger)
        self._test = images, torch.from_numpy(labels).to(self.device)
        return len(labels)

    def _test_at(self, images: Any, size: Size) -> Tensor:
        """Images of *test* at that size, each made once."""
        if size not in self._test_by_size:
            prepared = tensors(images, self.statistics, size)
            self._test_by_size[size] = prepared.to(self.device)
        return self._test_by_size[size]

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train one network and score it once on *test*, which must be open, and on *selection*.

        Raises `TrainingError`, and `RunError` before `open_test`.
        """
        if self._test is None:
            raise _closed()
        images, labels = self._test
        with self.computing():
            network = self.trained(architecture, seed)
            tested = self._test_at(images, network.architecture.input.size)
            on_selection = self._scores(network, "selection")
            return score(network, tested, labels) | _selection_scores(on_selection)


class FullRetraining(Contract):
    """Networks themselves, by ``nas train``'s default recipe for ``factor`` times its epochs.

    Training reads *weights* and *search*, as ``nas train`` does. A killed training begins anew.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Mapping[str, Any],
        factor: float,
        resolution: Size | None,
    ) -> None:
        _check_factor(factor)
        plain = Recipe(resolution=resolution)
        self.splits = split(dataset)
        self.dataset = self.splits.dataset
        self.recipe = dataclasses.replace(plain, epochs=plain.epochs * factor)
        self.thread_count = recipe.get("threads", 1)
        self.device = device_of(recipe.get("accelerator", "auto"))
        self.precision = recipe.get("precision", "auto")
        self.teacher = _same_teacher(recipe["teacher"], dataset) if "teacher" in recipe else None
        self._test: tuple[Any, Tensor] | None = None

    def describe_data(self) -> dict[str, object]:
        """As of the run's own evaluator."""
        return describe_data(self.splits)

    def describe_training(self) -> dict[str, object]:
        """The recipe, and what else decides its bits."""
        described: dict[str, object] = {
            **to_json(self.recipe),
            "full": True,
            "threads": self.thread_count,
            "device": self.device.type,
            **Compute(precision=self.precision).described(),
        }
        # Each training has a seed of its own.
        del described["seed"]
        if not self.recipe.crop:
            # As it was before there was such a setting.
            del described["crop"]
        if self.teacher is not None:
            described["teacher"] = self.teacher.describe()
        return described

    def lines(self) -> list[str]:
        """The data with its splits and doubts, the training, the teacher."""
        images = len(self.splits.weights) + len(self.splits.search)
        steps = self.recipe.schedule(images).steps
        size = self.recipe.resolution
        lines = [
            *self.splits.lines(),
            f"training   the networks themselves, as nas train does: {counted(steps, 'step')} of "
            f"{self.recipe.batch_size} images of weights and search at "
            f"{'their own size' if size is None else f'{size} px'}, "
            f"{counted(self.thread_count, 'thread')} on {placed(self.device, self.precision)}",
        ]
        if self.teacher is not None:
            lines.append(f"teacher    {self.teacher}")
        return lines

    def open_test(self, ledger: Path) -> int:
        """Read the test set and count that in a ledger; how many images it has."""
        images, labels = self.splits.open_test(ledger)
        self._test = images, torch.from_numpy(labels).to(self.device)
        return len(labels)

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train one network and score it once on *test*, which must be open, and on *selection*.

        Raises `TrainingError`, and `RunError` before `open_test`.
        """
        if self._test is None:
            raise _closed()
        images, labels = self._test
        task = Classification(architecture, self.dataset, self.recipe, self.device)
        size = task.network.input.size
        with threads(self.thread_count), precise(self.precision):
            network = self._trained(task, seed)
            rows = np.arange(len(images))
            tested = LazyTensors(images, rows, task.statistics, size, self.device)
            on_selection = task.score(network, self.splits.selection)
            return score(network, tested, labels) | _selection_scores(on_selection)

    def _trained(self, task: Classification, seed: int) -> nn.Module:
        schedule = self.recipe.schedule(len(task.rows))
        phases = task.phases(self.recipe, schedule.steps)
        training = Training(
            task.build(seed),
            phases[-1].images,
            task.labels(task.rows, task.network.input.size),
            schedule,
            seed=seed,
            phases=phases,
            distillation=None if self.teacher is None else self.teacher.on(self.device),
        )
        while training.done < schedule.steps:
            training.advance()
        training.finish()
        return training.network


def _check_factor(factor: float) -> None:
    if not 0 < factor <= LARGEST_FACTOR:
        raise UsageError(
            f"--epochs-factor must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}"
        )


def _closed() -> RunError:
    return RunError("the test set must be opened, and counted, before a network is scored on it")


def _selection_scores(scores: Metrics) -> dict[str, float]:
    return {SELECTION + name: value for name, value in scores.items()}


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


def full_retraining(
    dataset: Dataset, recipe: Mapping[str, Any], factor: float, resolution: Size | None
) -> FullRetraining:
    """See `nas.study.evaluator.RetrainFully`."""
    return FullRetraining(dataset, recipe, factor, resolution)
