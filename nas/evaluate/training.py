"""Accuracy by a short training of the slimmed network: evaluator ``training``."""

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property

import torch

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, LazyTensors, Splits, split
from nas.evaluate.images import ImageEvaluator, open_data, search_metrics
from nas.evaluate.proxy import Proxy, chosen
from nas.evaluate.zero_cost_scores import IMAGES, proxies
from nas.model import Network, build
from nas.objectives import UNTRAINED_SCORE
from nas.study.evaluator import EvaluatorKind
from nas.train import Augment, Distillation, fit, score
from nas.train.accelerator import device_of
from nas.train.teacher import Teacher, load_teacher
from nas.trial import Metrics

__all__ = ["KIND", "PARTS", "TrainingEvaluator", "make", "short_training"]

UNTRAINED = ("grad_norm", "naswot")
"""Zero-cost scores that are taken beside a training; each costs about .1 s."""
PARTS = 8
"""A training that is followed is scored after each eighth of its steps.

Steps are counted, not passes: those may be few, or none whole.
"""


class TrainingEvaluator(ImageEvaluator):
    """Trains on *weights*, scores on *search* and on *selection*; *test* is never touched.

    Metrics: ``search_likelihood``, what a strategy is told, and ``accuracy`` of the selection set,
    what a front shows; beside them ``balanced_accuracy``, ``macro_f1`` and ``loss``, with
    ``search_`` too. ``untrained_NAME`` is a zero-cost score, for each of `UNTRAINED`: strategies
    may learn from it what a short training is too noisy to say. All are a function of architecture,
    seed, data, proxy and ``thread_count``, bit for bit on one machine and version.

    A ``teacher`` has a share in each training's loss, by its logits on the unchanged images.
    ``on_step(step, loss)`` follows the training.
    """

    followable = True
    lengthens = True

    def __init__(
        self,
        splits: Splits,
        proxy: Proxy,
        *,
        recipe: str = "as given",
        thread_count: int = 2,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        noisy: bool = False,
        on_step: Callable[[int, float], None] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(
            splits,
            proxy,
            recipe=recipe,
            thread_count=thread_count,
            device=device,
            precision=precision,
        )
        self.noisy = noisy
        self.on_step = on_step
        self.teacher = teacher
        self._longer: dict[int, TrainingEvaluator] = {}

    @cached_property
    def _distillation(self) -> Distillation | None:
        """The teacher's logits are computed once for all trainings, at its own resolution."""
        if self.teacher is None:
            return None
        rows = self.splits.weights[: self.proxy.images]
        size = self.teacher.size or self.proxy.usual
        images = LazyTensors(self.dataset.images, rows, self.statistics, size, self.device)
        return self.teacher.fixed(images)

    def describe_training(self) -> dict[str, object]:
        """The recipe, the teacher, and what else decides its bits."""
        described = {**super().describe_training(), "untrained": "+".join(UNTRAINED)}
        if self.teacher is not None:
            described["teacher"] = self.teacher.describe()
        return described

    def lines(self) -> list[str]:
        """The data, the recipe and the teacher."""
        lines = super().lines()
        if self.teacher is not None:
            lines.append(
                f"teacher    {self.teacher}; one that `nas train` made has seen the search set: "
                "only selection and test are new to it"
            )
        return lines

    def longer(self, factor: int) -> "TrainingEvaluator":
        """The recipe for ``factor`` times the epochs and images, scored on as many times as many.

        Scores cost little beside a longer training, and tell networks apart that are more alike.
        """
        if factor not in self._longer:
            proxy = self.proxy.times(factor)
            self._longer[factor] = TrainingEvaluator(
                self.splits,
                dataclasses.replace(proxy, score_images=factor * proxy.score_images),
                recipe=f"{self.recipe}, {factor} times as long",
                thread_count=self.thread_count,
                device=self.device,
                precision=self.precision,
                noisy=self.noisy,
                on_step=self.on_step,
                teacher=self.teacher,
            )
        return self._longer[factor]

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
        with self.computing():
            start = time.perf_counter()
            network = self.trained(architecture, seed, on_part)
            metrics = self._scores(network, "selection") | self._search_scores(network)
            metrics |= self._untrained_scores(architecture, seed)
            self.seconds.append(time.perf_counter() - start)
        return metrics

    def _scores(self, network: Network, part: str) -> dict[str, float]:
        return score(network, *self.images(part, network.architecture.input.size))

    def _search_scores(self, network: Network) -> dict[str, float]:
        return search_metrics(self._scores(network, "search"))

    def _untrained_scores(self, architecture: Architecture, seed: int) -> dict[str, float]:
        """Zero-cost scores of the network before any training."""
        network = build(self.slim_untrained(architecture), seed=seed).to(self.device)
        images, labels = self.images("weights", network.architecture.input.size)
        scores = proxies(network, images[:IMAGES], labels[:IMAGES], UNTRAINED)
        return {f"{UNTRAINED_SCORE}{name}": value for name, value in scores.items()}

    def trained(
        self,
        architecture: Architecture,
        seed: int,
        on_part: Callable[[Metrics], None] | None = None,
    ) -> Network:
        """The slimmed network, trained on *weights*. Raises `TrainingError`."""
        network = build(self.slim(architecture), seed=seed)
        images, labels = self.images("weights", network.architecture.input.size)
        schedule = self.proxy.schedule(len(images))

        def follow(step: int, loss: float) -> None:
            if self.on_step is not None:
                self.on_step(step, loss)
            before, now = ((count * PARTS) // schedule.steps for count in (step - 1, step))
            # The last part is the end, which is scored on both sets anyway.
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


def short_training(like: ImageEvaluator, proxy: Proxy) -> TrainingEvaluator:
    """What trains each network beside an evaluator that does not, on its splits and device."""
    return TrainingEvaluator(
        like.splits,
        proxy,
        recipe=like.recipe,
        thread_count=like.thread_count,
        device=like.device,
        precision=like.precision,
    )


# -- as the command line asks for it --------------------------------------------------------------


def make(
    dataset: Dataset,
    changes: str = "",
    *,
    threads: int = 1,
    teacher: Teacher | None = None,
    compute: Compute = USUAL,
) -> TrainingEvaluator:
    """The evaluator for a data set: its preset, changed by ``name=value,...``.

    Slimmed networks are so small that a second thread gains nothing on an idle machine and costs
    ten times the time on a busy one, where threads wait for each other at every layer: hence one.
    """
    recipe, proxy = chosen(dataset, changes)
    return TrainingEvaluator(
        split(dataset),
        proxy,
        recipe=recipe,
        thread_count=threads,
        device=device_of(compute.accelerator),
        precision=compute.precision,
        teacher=teacher,
    )


def open_teacher(
    spec: str, weights: str | None, dataset: Dataset, temperature: float, weight: float
) -> Teacher:
    """See `nas.train.teacher.load_teacher`."""
    return load_teacher(spec, weights, dataset, temperature=temperature, weight=weight)


KIND = EvaluatorKind(
    name="training",
    factory=make,
    open_data=open_data,
    open_teacher=open_teacher,
    takes_compute=True,
)
