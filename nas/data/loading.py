"""Images of files for a training: decoded ahead by other processes, cut at random if a recipe says.

The loop says which batches it will ask for, and asks for them in that order. What is random of an
image is a function of the seed, the step and the image, so that neither the number of processes nor
a kill changes a bit.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nas.data.pictures import ImageFiles
from nas.data.tensors import LazyTensors, Statistics, normalised
from nas.errors import DataError, TrainingError
from nas.size import Size, sides

__all__ = ["LoadedTensors", "random_box"]

RATIOS = (3 / 4, 4 / 3)
TRIES = 10
STREAM = 0xC209
Batch = tuple[int, NDArray[np.int64]]
"""A step and the positions of its images."""


def random_box(
    rng: np.random.Generator, ratio: float, least: float
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random part of an image, as shares of its sides.

    Its area is ``least`` to 1 of the image's and its sides are in a ratio of 3/4 to 4/3, as
    Inception's preprocessing draws them (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842); if
    ten draws do not fit into the image, the largest part in the middle whose ratio is allowed.
    ``ratio``: the image's width over its height; over that of a crop that is not square, so that
    both sides of a crop are stretched alike.
    """
    for area, turn, right, down in rng.random((TRIES, 4)).tolist():
        share = least + (1 - least) * area
        wanted = math.exp(math.log(RATIOS[0]) + turn * math.log(RATIOS[1] / RATIOS[0]))
        width = math.sqrt(share * wanted / ratio)
        height = math.sqrt(share * ratio / wanted)
        if width <= 1 and height <= 1:
            left, top = right * (1 - width), down * (1 - height)
            return left, top, left + width, top + height
    width = min(1.0, RATIOS[1] / ratio)
    height = min(1.0, ratio / RATIOS[0])
    left, top = (1 - width) / 2, (1 - height) / 2
    return left, top, left + width, top + height


@contextmanager
def _more_than_cores() -> Iterator[None]:
    """Processes beyond the number of cores were asked for, and are no reason for a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class _Batches(TorchDataset[Tensor]):
    """Batches as bytes, by step and positions; what a worker works off."""

    def __init__(self, images: ImageFiles, size: Size, least: float, seed: int) -> None:
        self._images, self._size, self._least, self._seed = images, size, least, seed

    def __getitem__(self, batch: Batch) -> Tensor | str:  # type: ignore[override]
        step, positions = batch
        out = np.empty((len(positions), *sides(self._size), self._images.channels), np.uint8)
        try:
            for place, position in enumerate(positions.tolist()):
                out[place] = self._one(step, position)
        except DataError as error:
            # As a value: torch would print the trace of a process into the message.
            return str(error)
        return torch.from_numpy(out)

    def _one(self, step: int, position: int) -> NDArray[np.uint8]:
        if not self._least:
            return self._images.fit(position, self._size)
        rng = np.random.default_rng([STREAM, self._seed, step, position])
        height, width = sides(self._size)
        box = random_box(rng, self._images.ratio(position) / (width / height), self._least)
        return self._images.crop(position, self._size, box)


class _Sampler:
    """The batches to come; another list for each iteration of one loader."""

    def __init__(self) -> None:
        self.batches: Sequence[Batch] = ()

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class LoadedTensors(LazyTensors):
    """As `LazyTensors`, for a training: what `expect` announces is decoded ahead.

    ``least``: the least share of the area of a random part that is cut out and scaled; 0: images as
    evaluations see them. ``workers``: processes that decode; 0: this one.
    """

    def __init__(
        self,
        images: ImageFiles,
        rows: NDArray[np.int64],
        stats: Statistics,
        resolution: Size,
        device: torch.device,
        *,
        least: float = 0.0,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__(images, rows, stats, resolution, device)
        self._batches = _Batches(images[rows], resolution, least, seed)
        self._sampler = _Sampler()
        self._workers = workers
        self._loader: DataLoader[Any] | None = None
        self._coming: Iterator[Tensor | str] = iter(())
        self._announced: list[Batch] = []

    def expect(self, batches: Sequence[tuple[int, Tensor]]) -> None:
        """Begin on batches that will be asked for in this order: a step and positions (k,) each."""
        self._sampler.batches = [(step, rows.cpu().numpy()) for step, rows in batches]
        self._announced = list(reversed(self._sampler.batches))
        if self._loader is None:
            self._loader = self._new_loader()
        with _more_than_cores():
            self._coming = iter(self._loader)

    def _new_loader(self) -> DataLoader[Any]:
        with _more_than_cores():
            return DataLoader(
                self._batches,
                sampler=self._sampler,
                batch_size=None,
                num_workers=self._workers,
                persistent_workers=self._workers > 0,
                # Its own draw from torch's global generator would shift the training's.
                generator=torch.Generator(),
            )

    def __getitem__(self, rows: Tensor) -> Tensor:
        """See `LazyTensors`; the batches of `expect` come in their order."""
        positions = rows.cpu().numpy()
        if not self._announced or not np.array_equal(self._announced[-1][1], positions):
            return super().__getitem__(rows)
        self._announced.pop()
        try:
            batch = next(self._coming)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                "a process that decodes images died, perhaps for want of shared memory: "
                "give more, or --data-workers 0"
            ) from None
        if isinstance(batch, str):
            raise DataError(batch)
        return normalised(batch.to(self.device), self._stats)

    def close(self) -> None:
        """End the processes that decode."""
        self._coming, self._loader = iter(()), None
