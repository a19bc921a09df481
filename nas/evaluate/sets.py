"""The sets of a run's data as torch data sets, for functions of the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from nas.data import Dataset, LazyTensors, Statistics, split, statistics
from nas.data.dataset import Pictures
from nas.data.own import Items
from nas.data.splits import SPLIT_SEED, deal
from nas.errors import RunError
from nas.evaluate.images import describe_data
from nas.record.ledger import append_opening
from nas.size import Size

__all__ = ["NO_DATA", "Images", "NoData", "Rows", "Sets", "Source"]

NO_DATA = "none"
"""``--data none``: the function has its data itself."""


@dataclass(frozen=True)
class NoData:
    """The data of a function that brings its own."""

    classes: Sequence[object] = ()
    in_channels: int = 0


class Rows(TorchDataset[Any]):
    """Some items of a data set, by their numbers."""

    def __init__(self, source: Any, rows: NDArray[np.int64]) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.rows[index])]


class Images(TorchDataset[tuple[Tensor, int]]):
    """Images as the network takes them, float32 (c, h, w), normalised, each with its class."""

    def __init__(self, images: LazyTensors, labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        """A batch at once, which is how a `DataLoader` asks."""
        maps = self.images[torch.as_tensor(indices)]
        return [(maps[i], int(self.labels[index])) for i, index in enumerate(indices)]


@dataclass(frozen=True)
class Sets:
    """The sets of the data, as torch data sets."""

    train: "TorchDataset[Any]"
    """*weights*: what networks are trained on."""
    search: "TorchDataset[Any]"
    """What strategies are told the scores of."""
    selection: "TorchDataset[Any]"
    """By which fronts are drawn and networks picked."""
    classes: tuple[str, ...]
    """Their names; empty if the items have no classes."""


class Source:
    """What gives a run's sets: images that we read, or items of the user's."""

    def __init__(self, data: Dataset | Items | NoData) -> None:
        self.data = data
        self.splits = split(data) if isinstance(data, Dataset) else None
        self.rows = deal(data) if isinstance(data, Items) else []
        self._test: tuple[Any, NDArray[np.int64]] | None = None

    @cached_property
    def _statistics(self) -> Statistics:
        assert self.splits is not None
        return statistics(self.splits.dataset.images[self.splits.weights])

    def sets(self, size: Size) -> Sets | None:
        """For a network whose input has that size; None without data."""
        if isinstance(self.data, Items):
            parts = [Rows(self.data.source, rows) for rows in self.rows[:3]]
            return Sets(parts[0], parts[1], parts[2], self.data.classes)
        if self.splits is None:
            return None
        whole, labels = self.splits.dataset.images, self.splits.dataset.labels
        every = (self.splits.weights, self.splits.search, self.splits.selection)
        images = [self._images(whole, labels, rows, size) for rows in every]
        return Sets(images[0], images[1], images[2], self.splits.dataset.classes)

    def _images(
        self, images: Pictures, labels: NDArray[np.int64], rows: NDArray[np.int64], size: Size
    ) -> Images:
        lazy = LazyTensors(images, rows, self._statistics, size, torch.device("cpu"))
        return Images(lazy, labels[rows])

    def open_test(self, ledger: Path) -> int:
        """Open *test* and count that; how many items it has, 0 if there is no data."""
        if self.splits is not None:
            self._test = self.splits.open_test(ledger)
            return len(self._test[1])
        if not isinstance(self.data, Items):
            append_opening(ledger, 0)
            return 0
        source = self.data.source
        rows = self.rows[3] if len(self.rows) > 3 else np.zeros(0, np.int64)
        if self.data.read_test is not None:
            source = self.data.read_test()
            rows = np.arange(len(source))
        append_opening(ledger, len(rows))
        self._test = source, rows
        return len(rows)

    def test(self, size: Size) -> "TorchDataset[Any]":
        """*test*, which must be open."""
        if self._test is None:
            raise RunError(
                "the test set must be opened, and counted, before a network is scored on it"
            )
        source, labels = self._test
        if self.splits is None:
            return Rows(source, labels)
        return self._images(source, labels, np.arange(len(labels)), size)

    def describe(self) -> dict[str, object]:
        """As a run keeps it."""
        if self.splits is not None:
            return describe_data(self.splits)
        if not isinstance(self.data, Items):
            return {"name": NO_DATA}
        weights, search, selection = map(len, self.rows[:3])
        return {
            "name": self.data.name,
            "digest": self.data.digest,
            "split_seed": SPLIT_SEED,
            "weights": weights,
            "search": search,
            "selection": selection,
        }

    def lines(self) -> list[str]:
        """For people."""
        if self.splits is not None:
            return self.splits.lines()
        if not isinstance(self.data, Items):
            return ["data       none of ours: the function brings its own, and no test set is kept"]
        counts = [len(rows) for rows in self.rows]
        test = "own part" if self.data.has_test else str(counts[3])
        lines = [
            f"data       {self.data}; weights {counts[0]}, search {counts[1]}, "
            f"selection {counts[2]}, test {test}"
        ]
        if self.data.varies:
            lines.append(
                "           items change at random as they are read: their digest is of kinds and "
                "labels alone, and scores are of changed items"
            )
        return lines
