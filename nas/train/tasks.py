"""What is learnt of a data set: a class of each image, or of each pixel."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.arch import Architecture
from nas.backbone import FIXED_SIZE
from nas.data import Dataset, LazyTensors, Splits, Statistics, split, statistics
from nas.data.dataset import Pictures
from nas.data.loading import LoadedTensors
from nas.data.masks import LazyMasks, MaskDataset
from nas.data.pictures import ImageFiles
from nas.errors import TrainingError, UsageError
from nas.model import Network, build
from nas.model.segmenter import MARK, Segmenter, body, segmenter
from nas.model.weights import Loaded, Weights, load_weights
from nas.scale import scaled
from nas.size import Size
from nas.train.augment import Augment, Change, Changes, Mix, RandAugment
from nas.train.loop import Phase, Source
from nas.train.recipe import GrowthStage, Recipe
from nas.train.scores import score
from nas.train.segmentation import score_masks

__all__ = ["Classification", "Segmentation", "Task", "task_of"]

Rows = NDArray[np.int64]


class Task(Protocol):
    """Network, phases and scores for a data set."""

    metric: str
    network: Architecture
    dataset: Dataset
    splits: Splits
    rows: Rows
    statistics: Statistics

    def build(self, seed: int) -> nn.Module:
        """The module to train, with fresh weights."""

    def load(self, network: nn.Module, weights: Weights, partial: bool) -> Loaded:
        """Fill it from weights, of which ``partial`` takes what fits.

        Raises `NasError` if they do not fit.
        """

    def labels(self, rows: Rows, size: Size) -> Source:
        """Labels of some rows of the data set."""

    def phases(self, recipe: Recipe, steps: int) -> list[Phase]:
        """The phases of a training."""

    def score(self, network: nn.Module, rows: Rows) -> dict[str, float]:
        """Scores on some rows of the data set."""

    def score_test(self, network: nn.Module, ledger: Path) -> tuple[dict[str, float], int]:
        """Opens *test*, counted in the ledger ``ledger``: its scores and its number of images."""


def task_of(
    network: Architecture,
    dataset: Dataset,
    recipe: Recipe,
    device: torch.device,
    *,
    data_workers: int = 0,
) -> Task:
    """The task that a data set poses; ``data_workers``: processes that decode image files."""
    if isinstance(dataset, MaskDataset):
        return Segmentation(network, dataset, recipe, device)
    return Classification(network, dataset, recipe, device, data_workers=data_workers)


class _Images:
    """What both tasks share.

    Training reads *weights* and *search*; normalisation is that of *weights*.
    """

    def __init__(
        self, network: Architecture, dataset: Dataset, recipe: Recipe, device: torch.device
    ) -> None:
        self.splits: Splits = split(dataset)
        # That of the splits: its images have eight bits.
        self.dataset, self.device = self.splits.dataset, device
        self.network = scaled(
            network,
            resolution=recipe.resolution,
            classes=len(dataset.classes),
            in_channels=dataset.in_channels,
        )
        self.rows: Rows = np.concatenate([self.splits.weights, self.splits.search])
        self.statistics = statistics(self.dataset.images[self.splits.weights])

    def _plan(self, recipe: Recipe) -> tuple[GrowthStage, ...]:
        """The recipe's stages.

        Raises `TrainingError` if a layer is made for one size and there are others.
        """
        plan = recipe.plan(self.network.input.size)
        fixed = [layer for layer in self.network.layers if layer.op.key in FIXED_SIZE]
        other = [step.size for step in plan if step.size != self.network.input.size]
        if fixed and other:
            raise TrainingError(
                f"layer {fixed[0].op.signature} takes maps of {fixed[0].shape} only: "
                f"it cannot be trained at {other[0]} px; "
                "leave --progressive out, or --set stages=1,train_share=1"
            )
        return plan

    def _images(self, rows: Rows, size: Size) -> LazyTensors:
        return LazyTensors(self.dataset.images, rows, self.statistics, size, self.device)

    def _test_images(self, images: Pictures) -> LazyTensors:
        every_row = np.arange(len(images))
        size = self.network.input.size
        return LazyTensors(images, every_row, self.statistics, size, self.device)


class Classification(_Images):
    """A class for each image."""

    metric = "accuracy"

    def __init__(
        self,
        network: Architecture,
        dataset: Dataset,
        recipe: Recipe,
        device: torch.device,
        *,
        data_workers: int = 0,
    ) -> None:
        super().__init__(network, dataset, recipe, device)
        self._data_workers = data_workers

    def build(self, seed: int) -> Network:
        """See `Task`."""
        return build(self.network, seed=seed)

    def load(self, network: nn.Module, weights: Weights, partial: bool) -> Loaded:
        """See `nas.model.weights.load`."""
        return load_weights(network, weights, partial=partial)

    def labels(self, rows: Rows, size: Size) -> Tensor:
        """(n,) int64."""
        return torch.from_numpy(self.dataset.labels[rows]).to(self.device)

    def phases(self, recipe: Recipe, steps: int) -> list[Phase]:
        """See `Task`."""
        phases = []
        for step in self._plan(recipe):
            phase = Phase(
                end=max(1, round(step.end * steps)),
                images=self._training_images(recipe, step.size),
                dropout=step.dropout,
                change=self._change(recipe, step),
                random=recipe.drop_path > 0,
            )
            phases.append(phase)
        return phases

    def _training_images(self, recipe: Recipe, size: Size) -> Source:
        images = self.dataset.images
        if not isinstance(images, ImageFiles):
            return self._images(self.rows, size)
        return LoadedTensors(
            images,
            self.rows,
            self.statistics,
            size,
            self.device,
            least=recipe.crop,
            seed=recipe.seed,
            workers=self._data_workers,
        )

    def _change(self, recipe: Recipe, step: GrowthStage) -> Change:
        cropped = recipe.crop > 0 and isinstance(self.dataset.images, ImageFiles)
        pad = 0 if cropped else recipe.padding(step.size)
        changes: list[Change] = [Augment(pad=pad, flip=self.dataset.flip)]
        if step.randaugment:
            changes.append(RandAugment(self.statistics, magnitude=step.randaugment))
        if step.mixup or step.cutmix:
            changes.append(
                Mix(classes=len(self.dataset.classes), mixup=step.mixup, cutmix=step.cutmix)
            )
        return Changes(changes)

    def score(self, network: nn.Module, rows: Rows) -> dict[str, float]:
        """See `nas.train.scores.score`."""
        return score(network, self._images(rows, self.network.input.size), self.labels(rows, 0))

    def score_test(self, network: nn.Module, ledger: Path) -> tuple[dict[str, float], int]:
        """See `Task`."""
        images, labels = self.splits.open_test(ledger)
        truth = torch.from_numpy(labels).to(self.device)
        return score(network, self._test_images(images), truth), len(labels)


class Segmentation(_Images):
    """A class for each pixel; of a network's weights its body up to stride 16 is used."""

    metric = "miou"

    def __init__(
        self, network: Architecture, dataset: Dataset, recipe: Recipe, device: torch.device
    ) -> None:
        for name in ("randaugment", "mixup", "cutmix"):
            if getattr(recipe, name):
                raise UsageError(
                    f"{name} changes images, not their masks: leave it out by --set {name}=0"
                )
        super().__init__(network, dataset, recipe, device)
        self.whole = self.network
        self.network = body(self.whole).architecture

    def build(self, seed: int) -> Segmenter:
        """See `Task`."""
        return segmenter(self.network, len(self.dataset.classes), seed)

    def load(self, network: nn.Module, weights: Weights, partial: bool) -> Loaded:
        """Weights of a segmenter, or of the network as a classifier, of which the body is taken."""
        if any(name.startswith(MARK) for name in weights.state):
            return load_weights(network, weights, partial=partial)
        # Through the whole classifier, so that foreign names and other classes are seen to there.
        whole = build(self.whole)
        loaded = load_weights(whole, weights, partial=partial)
        own = network.state_dict()
        body_state = {}
        for name, value in whole.state_dict().items():
            if f"{MARK}{name}" in own:
                body_state[f"{MARK}{name}"] = value
        network.load_state_dict(body_state, strict=False)
        return replace(
            loaded,
            loaded=tuple(name for name in loaded.loaded if f"{MARK}{name}" in body_state),
            missing=tuple(name for name in loaded.missing if f"{MARK}{name}" in body_state),
            head=tuple(name for name in own if name not in body_state),
        )

    def labels(self, rows: Rows, size: Size) -> LazyMasks:
        """(n, height, width) int64."""
        return LazyMasks(self.dataset.labels, rows, size, self.device)

    def phases(self, recipe: Recipe, steps: int) -> list[Phase]:
        """See `Task`."""
        phases = []
        for step in self._plan(recipe):
            phase = Phase(
                end=max(1, round(step.end * steps)),
                images=self._images(self.rows, step.size),
                labels=self.labels(self.rows, step.size),
                dropout=step.dropout,
                change=Augment(pad=recipe.padding(step.size), flip=self.dataset.flip),
                random=recipe.drop_path > 0,
            )
            phases.append(phase)
        return phases

    def score(self, network: nn.Module, rows: Rows) -> dict[str, float]:
        """See `nas.train.segmentation.score_masks`."""
        size = self.network.input.size
        return score_masks(network, self._images(rows, size), self.labels(rows, size))

    def score_test(self, network: nn.Module, ledger: Path) -> tuple[dict[str, float], int]:
        """See `Task`."""
        images, masks = self.splits.open_test(ledger)
        every_row = np.arange(len(images))
        truth = LazyMasks(masks, every_row, self.network.input.size, self.device)
        return score_masks(network, self._test_images(images), truth), len(masks)
