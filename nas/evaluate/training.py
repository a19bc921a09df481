"""Accuracy by a short training of the slimmed network: evaluator ``training``."""

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.data import Dataset, LazyTensors, Splits, Statistics, load, split, statistics, tensors
from nas.evaluate.proxy import Proxy, chosen, slim
from nas.model import build
from nas.study.evaluator import Evaluator, EvaluatorKind
from nas.train import Augment, Distillation, fit, score, threads
from nas.train.teacher import Teacher, load_teacher
from nas.trial import Metrics
from nas.units import counted

__all__ = ["KIND", "PARTS", "TrainingEvaluator", "TrainingSession", "open_data"]

PARTS = 8
"""A training that is followed is scored after each eighth of its steps.

Steps are counted, not passes: those may be few, or none whole.
"""
DESCRIBED_SETS = ("weights", "search", "selection")


class TrainingEvaluator(Evaluator):
    """Trains on *weights*, scores on *search* and on *selection*; *test* is never touched.

    Metrics: ``search_accuracy``, what a strategy is told, and ``accuracy`` of the selection set,
    what a front shows; beside them ``balanced_accuracy``, ``macro_f1`` and ``loss``, with
    ``search_`` too. They are a function of architecture, seed, data, proxy and ``thread_count``,
    bit for bit on one machine and version. ``seconds`` holds what each evaluation took. A
    ``teacher`` has a share in each training's loss, by its logits on the unchanged images.
    ``on_step(step, loss)`` follows the training.
    """

    followable = True

    def __init__(
        self,
        splits: Splits,
        proxy: Proxy,
        *,
        thread_count: int = 2,
        device: str = "cpu",
        noisy: bool = False,
        on_step: Callable[[int, float], None] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.teacher = teacher
        self.splits = splits
        self.dataset = splits.dataset
        self.proxy = proxy
        self.thread_count = thread_count
        self.device = torch.device(device)
        self.noisy = noisy
        self.on_step = on_step
        self.seconds: list[float] = []

    @cached_property
    def statistics(self) -> Statistics:
        """Of the weights set alone."""
        return statistics(self.dataset.images[self.splits.weights])

    def _tensors(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        images = tensors(self.dataset.images[rows], self.statistics, self.proxy.resolution)
        return images.to(self.device), torch.from_numpy(self.dataset.labels[rows]).to(self.device)

    @cached_property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Images and labels that train: (n, c, s, s), (n,)."""
        return self._tensors(self.splits.weights[: self.proxy.images])

    @cached_property
    def search(self) -> tuple[Tensor, Tensor]:
        """Images and labels that steer a search: (n, c, s, s), (n,)."""
        return self._tensors(self.splits.search[: self.proxy.score_images])

    @cached_property
    def selection(self) -> tuple[Tensor, Tensor]:
        """Images and labels that fronts and picks are drawn by: (n, c, s, s), (n,)."""
        return self._tensors(self.splits.selection[: self.proxy.score_images])

    @cached_property
    def _distillation(self) -> Distillation | None:
        """The teacher's logits are computed once for all trainings, at its own resolution."""
        if self.teacher is None:
            return None
        rows = self.splits.weights[: self.proxy.images]
        size = self.teacher.size or self.proxy.resolution
        images = LazyTensors(self.dataset.images, rows, self.statistics, size, self.device)
        return self.teacher.fixed(images)

    def slim(self, architecture: Architecture) -> Architecture:
        """The network that is trained instead."""
        return slim(architecture, self.proxy, self.dataset.in_channels, len(self.dataset.classes))

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train one network; see the class. ``seed`` is at least 0. Raises `TrainingError`."""
        return self._evaluate(architecture, seed, None)

    def evaluate_in_parts(
        self, architecture: Architecture, seed: int, on_part: Callable[[Metrics], None]
    ) -> Metrics:
        """As `evaluate`, bit for bit; a part is an eighth of the steps."""
        return self._evaluate(architecture, seed, on_part)

    def _evaluate(
        self, architecture: Architecture, seed: int, on_part: Callable[[Metrics], None] | None
    ) -> Metrics:
        with threads(self.thread_count):
            start = time.perf_counter()
            network = self.trained(architecture, seed, on_part)
            metrics = score(network, *self.selection) | self._search_scores(network)
            self.seconds.append(time.perf_counter() - start)
        return metrics

    def _search_scores(self, network: nn.Module) -> dict[str, float]:
        return {f"search_{name}": value for name, value in score(network, *self.search).items()}

    def trained(
        self,
        architecture: Architecture,
        seed: int,
        on_part: Callable[[Metrics], None] | None = None,
    ) -> nn.Module:
        """The slimmed network, trained on *weights*. Raises `TrainingError`."""
        images, labels = self.weights
        network = build(self.slim(architecture), seed=seed)
        schedule = self.proxy.schedule(len(images))

        def follow(step: int, loss: float) -> None:
            if self.on_step is not None:
                self.on_step(step, loss)
            before, now = ((count * PARTS) // schedule.steps for count in (step - 1, step))
            if on_part is not None and before < now < PARTS:
                on_part(self._search_scores(network))

        fit(
            network,
            images,
            labels,
            schedule,
            seed=seed,
            augment=Augment(pad=self.proxy.shift, flip=self.dataset.flip),
            on_step=follow,
            distillation=self._distillation,
        )
        return network


class TrainingSession(TrainingEvaluator):
    """A `TrainingEvaluator` that can say what it will do, for people and for ``run.json``.

    ``recipe``: where the short training's settings come from, for people.
    """

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
            split(dataset),
            proxy,
            thread_count=thread_count,
            device="cuda" if torch.cuda.is_available() else "cpu",
            teacher=teacher,
        )

    def describe_data(self) -> dict[str, object]:
        """Name, digest, seed and sizes of the splits."""
        return {
            "name": self.dataset.name,
            "digest": self.dataset.digest,
            "split_seed": self.splits.seed,
            **{name: len(getattr(self.splits, name)) for name in DESCRIBED_SETS},
        }

    def describe_training(self) -> dict[str, object]:
        """The recipe, and what else decides its bits."""
        described = {
            **dataclasses.asdict(self.proxy),
            "threads": self.thread_count,
            "device": self.device.type,
        }
        if self.teacher is not None:
            described["teacher"] = self.teacher.describe()
        return described

    def lines(self) -> list[str]:
        """The data with its splits and doubts, then the recipe."""
        proxy = self.proxy
        steps = proxy.schedule(len(self.splits.weights)).steps
        lines = self.splits.lines()
        lines.append(
            f"training   {self.recipe}: {counted(steps, 'step')} of {proxy.batch_size} images at "
            f"{proxy.resolution} px, width {proxy.width:g}, "
            f"{counted(self.thread_count, 'thread')} on {self.device.type}"
        )
        if self.teacher is not None:
            lines.append(
                f"teacher    {self.teacher}; one that `nas train` made has seen the search set: "
                "only selection and test are new to it"
            )
        return lines


# -- as the command line asks for it --------------------------------------------------------------


def open_data(spec: str, *, strict: bool = False, groups: str | None = None) -> Dataset:
    """See `nas.data.load`."""
    return load(spec, strict=strict, groups=groups)


def make(
    dataset: Dataset, changes: str = "", *, threads: int = 1, teacher: Teacher | None = None
) -> TrainingSession:
    """The evaluator for a data set: its preset, changed by ``name=value,...``.

    Slimmed networks are so small that a second thread gains nothing on an idle machine and costs
    ten times the time on a busy one, where threads wait for each other at every layer: hence one.
    """
    recipe, proxy = chosen(dataset, changes)
    return TrainingSession(dataset, proxy, recipe, threads, teacher)


def open_teacher(
    spec: str, weights: str | None, dataset: Dataset, temperature: float, weight: float
) -> Teacher:
    """See `nas.train.teacher.load_teacher`."""
    return load_teacher(spec, weights, dataset, temperature=temperature, weight=weight)


KIND = EvaluatorKind(name="training", factory=make, open_data=open_data, open_teacher=open_teacher)
