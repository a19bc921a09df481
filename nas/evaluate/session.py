"""Short training as the main job asks for it: a data set and a recipe by their command-line words."""

import dataclasses
from typing import Any

import torch

from nas.data import Dataset, load, split
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.training import TrainingEvaluator
from nas.study.evaluator import EvaluatorKind
from nas.train.teacher import Teacher, load_teacher
from nas.units import counted

__all__ = ["KIND", "SPLIT_SEED", "TrainingSession", "make", "open_data", "open_teacher"]

SPLIT_SEED = 0
"""Splits do not follow the run's seed: the test set is the same for every search on a data set."""


class TrainingSession(TrainingEvaluator):
    """A `TrainingEvaluator` that can say what it will do, for people and for ``run.json``."""

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


KIND = EvaluatorKind(name="training", factory=make, open_data=open_data, open_teacher=open_teacher)
