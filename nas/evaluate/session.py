"""Short training as the main job asks for it: a data set and a recipe by their command-line words."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nas.arch import Architecture
from nas.data import Dataset, load, split, tensors
from nas.errors import RunError, UsageError
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.training import TrainingEvaluator
from nas.objectives import QUALITY
from nas.train import score, threads
from nas.train.teacher import Teacher, load_teacher
from nas.trial import Metrics
from nas.units import counted

__all__ = ["Retraining", "TrainingSession", "make", "open_data", "open_teacher", "retraining"]

LARGEST_FACTOR = 1000.0
SPLIT_SEED = 0
"""Splits do not follow the run's seed: the test set is the same for every search on a data set."""


class TrainingSession(TrainingEvaluator):
    """A `TrainingEvaluator` that can say what it will do, for people and for ``run.json``.

    ``qualities``: the objectives it measures. ``remarks``: what is worth saying when all is done.
    """

    qualities: ClassVar[tuple[str, ...]] = QUALITY

    def __init__(
        self,
        dataset: Dataset,
        proxy: Proxy,
        recipe: str,
        thread_count: int,
        teacher: Teacher | None = None,
    ) -> None:
        self.recipe = recipe
        self.remarks: list[str] = []
        super().__init__(
            split(dataset, SPLIT_SEED),
            proxy,
            thread_count=thread_count,
            device="cuda" if torch.cuda.is_available() else "cpu",
            teacher=teacher,
        )

    def describe_data(self) -> dict[str, Any]:
        """What the result depends on: name, digest, seed and sizes of the splits."""
        sizes = {
            name: len(getattr(self.splits, name)) for name in ("weights", "search", "selection")
        }
        return {
            "name": self.dataset.name,
            "digest": self.dataset.digest,
            "split_seed": SPLIT_SEED,
            **sizes,
        }

    def describe_training(self) -> dict[str, Any]:
        """The recipe, and what else decides its bits."""
        teacher = {} if self.teacher is None else {"teacher": self.teacher.describe()}
        return {
            **dataclasses.asdict(self.proxy),
            "threads": self.thread_count,
            "device": self.device.type,
            **teacher,
        }

    def lines(self) -> list[str]:
        """For people: the data with its splits and doubts, the recipe."""
        lines = self.splits.lines()
        steps = self.proxy.schedule(len(self.splits.weights)).steps
        lines.append(
            f"training   {self.recipe}: {counted(steps, 'step')} of {self.proxy.batch_size} images at "
            f"{self.proxy.resolution} px, width {self.proxy.width:g}, {counted(self.thread_count, 'thread')} on {self.device.type}"
        )
        if self.teacher is not None:
            lines.append(
                f"teacher    {self.teacher}; one that `nas train` made has seen the search set: "
                "only selection and test are new to it"
            )
        return lines


class Retraining(TrainingSession):
    """A run's recipe for ``factor`` times the epochs and images. `evaluate` gives the scores on *test* and no others."""

    def __init__(self, dataset: Dataset, recipe: Mapping[str, Any], factor: float) -> None:
        if not 0 < factor <= LARGEST_FACTOR:
            raise UsageError(
                f"--epochs-factor must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}"
            )
        given = {
            name: value
            for name, value in recipe.items()
            if name not in ("threads", "device", "evaluator", "teacher")
        }
        foreign = set(given) - {field.name for field in dataclasses.fields(Proxy)}
        if foreign:
            raise RunError(
                f"the run's recipe holds settings this version does not know: {', '.join(sorted(foreign))}"
            )
        base = Proxy(**given)
        longer = dataclasses.replace(
            base, epochs=base.epochs * factor, images=round(base.images * factor)
        )
        teacher = _same_teacher(recipe["teacher"], dataset) if "teacher" in recipe else None
        super().__init__(
            dataset, longer, f"{factor:g} times the search's schedule", recipe["threads"], teacher
        )
        self._test: tuple[Tensor, Tensor] | None = None

    def open_test(self) -> int:
        """Read the test set; how many images it has. The one who calls it counts it."""
        images, labels = self.splits.open_test()
        prepared = tensors(images, self.statistics, self.proxy.resolution)
        self._test = prepared.to(self.device), torch.from_numpy(labels).to(self.device)
        return len(labels)

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train one network and score it once on *test*, which must be open. Raises `TrainingError`."""
        if self._test is None:
            raise RunError(
                "the test set must be opened, and counted, before a network is scored on it"
            )
        with threads(self.thread_count):
            return score(self.trained(architecture, seed), *self._test)


def _same_teacher(described: Mapping[str, Any], dataset: Dataset) -> Teacher:
    """The run's teacher, from where it was; one that has changed since raises `RunError`."""
    files = [*described["files"], None][:2]
    found = load_teacher(
        files[0],
        files[1],
        dataset,
        temperature=described["temperature"],
        weight=described["weight"],
    )
    if found.digest != described["digest"]:
        raise RunError(
            f"teacher {' '.join(described['files'])} is not the one the run was made with: put that back"
        )
    return found


def open_data(spec: str, *, strict: bool = False, groups: str | None = None) -> Dataset:
    """See `nas.data.load`."""
    return load(spec, strict=strict, groups=groups)


def make(
    dataset: Dataset, proxy_text: str = "", *, threads: int = 1, teacher: Teacher | None = None
) -> TrainingSession:
    """The evaluator for a data set: its preset, changed by ``name=value,...``.

    Slimmed networks are so small that a second thread gains nothing on an idle machine and costs
    ten times the time on a busy one, where threads wait for each other at every layer: hence one.
    """
    name, base = preset(dataset)
    recipe = f"preset '{name}'" + (f", changed by {proxy_text}" if proxy_text else "")
    return TrainingSession(dataset, Proxy.parse(proxy_text, base), recipe, threads, teacher)


def open_teacher(
    spec: str, weights: str | None, dataset: Dataset, temperature: float, weight: float
) -> Teacher:
    """See `nas.train.teacher.load_teacher`."""
    return load_teacher(spec, weights, dataset, temperature=temperature, weight=weight)


def retraining(dataset: Dataset, recipe: Mapping[str, Any], factor: float) -> Retraining:
    """The longer training of a confirmation; ``recipe`` is what `TrainingSession.describe_training` gave the run."""
    return Retraining(dataset, recipe, factor)
