"""What all evaluators share that look at images: the splits, a short recipe, slimmed networks."""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nas.arch import Architecture
from nas.compute import Compute
from nas.data import Dataset, Splits, Statistics, load, statistics, tensors
from nas.data.pictures import ImageFiles
from nas.evaluate.proxy import VERSION, Proxy, slim
from nas.objectives import SEARCH
from nas.progress import Watch, ignore
from nas.size import Size
from nas.study.evaluator import Evaluator
from nas.train.accelerator import placed
from nas.train.precision import precise
from nas.train.threads import threads
from nas.trial import Metrics
from nas.units import counted

__all__ = ["ImageEvaluator", "describe_data", "open_data", "search_metrics"]

# Not *test*: it is closed, and a ledger counts who opens it.
DESCRIBED_SETS = ("weights", "search", "selection")


def open_data(
    spec: str, *, strict: bool = False, groups: str | None = None, watch: Watch = ignore
) -> Dataset:
    """See `nas.data.load`."""
    return load(spec, strict=strict, groups=groups, watch=watch)


def describe_data(splits: Splits) -> dict[str, object]:
    """Name, digest, seed and sizes of the splits, as a run keeps them."""
    return {
        "name": splits.dataset.name,
        "digest": splits.dataset.digest,
        "split_seed": splits.seed,
        **{name: len(getattr(splits, name)) for name in DESCRIBED_SETS},
    }


def search_metrics(scores: Metrics, tell: str = "likelihood") -> dict[str, float]:
    """Scores on *search*, as `nas.train.score` gives them, by the names that an evaluator uses.

    ``tell`` is one of `nas.objectives.TELLS`: with ``likelihood`` that is among them.
    """
    named = {SEARCH + name: value for name, value in scores.items()}
    if tell == "likelihood":
        # Rounding must not make a share of more than 1 out of a loss of -1e-17.
        named[SEARCH + "likelihood"] = math.exp(-max(0.0, scores["loss"]))
    return named


class ImageEvaluator(Evaluator):
    """Images of *weights*, *search* and *selection* as networks of a recipe see them.

    ``recipe``: where the settings of ``proxy`` come from, for people. ``device``: as torch names
    it. ``precision``: see `nas.compute.Compute`. ``seconds`` holds what each evaluation took.
    """

    def __init__(
        self,
        splits: Splits,
        proxy: Proxy,
        *,
        recipe: str = "as given",
        thread_count: int = 2,
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> None:
        self.splits = splits
        self.dataset = splits.dataset
        self.proxy = proxy
        self.recipe = recipe
        self.thread_count = thread_count
        self.device, self.precision = torch.device(device), precision
        self.seconds: list[float] = []
        self._prepared: dict[tuple[str, Size], tuple[Tensor, Tensor]] = {}
        self.remarks: list[str] = []

    @cached_property
    def statistics(self) -> Statistics:
        """Of the weights set alone."""
        return statistics(self.dataset.images[self.splits.weights])

    def images(self, part: str, size: Size | None = None) -> tuple[Tensor, Tensor]:
        """Images and labels of ``weights``, ``search`` or ``selection``: (n, c, h, w), (n,).

        ``size``: that of the recipe if it is not given. Weights train, search steers,
        and by selection fronts and picks are drawn.
        """
        key = part, size or self.proxy.usual
        if key not in self._prepared:
            # The recipe sees no more images in all, so no more are kept in memory.
            most = self.proxy.images if part == "weights" else self.proxy.score_images
            self._prepared[key] = self._tensors(getattr(self.splits, part)[:most], key[1])
        return self._prepared[key]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside, torch has the evaluator's threads and precision."""
        with threads(self.thread_count), precise(self.precision):
            yield

    def _tensors(self, rows: np.ndarray, size: Size) -> tuple[Tensor, Tensor]:
        images = tensors(self.dataset.images[rows], self.statistics, size)
        return images.to(self.device), torch.from_numpy(self.dataset.labels[rows]).to(self.device)

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """See `images`."""
        return self.images("weights")

    @property
    def search(self) -> tuple[Tensor, Tensor]:
        """See `images`."""
        return self.images("search")

    @property
    def selection(self) -> tuple[Tensor, Tensor]:
        """See `images`."""
        return self.images("selection")

    def slim(self, architecture: Architecture) -> Architecture:
        """The network that is trained or scored instead."""
        return slim(architecture, self.proxy, self.dataset.in_channels, len(self.dataset.classes))

    def slim_untrained(self, architecture: Architecture) -> Architecture:
        """The network whose zero-cost scores are taken: slimmed, with its own strides if they fit.

        On NAS-Bench-Macro they rank better so: the mean rank of naswot and the gradient's norm with
        a tau of .80, against .72 with the strides of a training.
        """
        proxy = dataclasses.replace(self.proxy, final=1)
        return slim(architecture, proxy, self.dataset.in_channels, len(self.dataset.classes))

    def describe_data(self) -> dict[str, object]:
        """See the function."""
        return describe_data(self.splits)

    def describe_training(self) -> dict[str, object]:
        """The recipe, and what else decides its bits."""
        return {
            "version": VERSION,
            **self.proxy.described(),
            "threads": self.thread_count,
            "device": self.device.type,
            **Compute(precision=self.precision).described(),
            **self._described_images(),
        }

    def _described_images(self) -> dict[str, str]:
        """What is done to an image file; arrays of pixels are as they were before this was said."""
        if not isinstance(self.dataset.images, ImageFiles):
            return {}
        return {"preprocessing": str(self.dataset.preprocessing(self.proxy.usual))}

    def lines(self) -> list[str]:
        """The data with its splits and doubts, then the recipe."""
        proxy = self.proxy
        steps = proxy.schedule(len(self.splits.weights)).steps
        inputs = f" for inputs of {proxy.input}, smaller ones in proportion" if proxy.input else ""
        return [
            *self.splits.lines(),
            f"training   {self.recipe}: {counted(steps, 'step')} of {proxy.batch_size} images at "
            f"{proxy.usual} px{inputs}, width {proxy.width:g}, "
            f"{counted(self.thread_count, 'thread')} on {placed(self.device, self.precision)}",
            f"images     {self.dataset.preprocessing(proxy.usual)}, normalised by weights",
        ]
